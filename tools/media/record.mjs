// Records a real terminal: commands typed into tmux, its screen taken whenever it changed, written as an asciinema cast
// (version 2) in which each event paints the whole screen. `asciinema play FILE` shows it.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const LOOK_MS = 60;
/** Longer waits are cut to this: nobody wants to watch one. */
const LONGEST_SECONDS = 1.5;
const LAST_SECONDS = 4;

/** A shell in a terminal of this size, with what it is told and shown. */
export class Recording {
  #folder = mkdtempSync(join(tmpdir(), 'flashmoe-media-'));
  #size;
  #env;
  #frames = [];
  #timer;

  constructor(size, env) {
    this.#size = size;
    this.#env = env;
    const { columns, rows } = size;
    // No login shell: its prompt would be this machine's.
    const shell = ['bash', '--norc', '--noprofile'];
    this.#tmux('new-session', '-d', '-x', `${columns}`, '-y', `${rows}`, ...shell);
    this.#timer = setInterval(() => this.#look(), LOOK_MS);
  }

  /** Types as a person does, then presses enter. */
  async type(text) {
    for (const letter of text) {
      this.#tmux('send-keys', '-l', letter);
      await pause(45);
    }
    await pause(300);
    this.#tmux('send-keys', 'Enter');
  }

  async press(...keys) {
    for (const key of keys) {
      this.#tmux('send-keys', key);
      await pause(250);
    }
  }

  /** Until the screen matches; throws with the screen after a minute. */
  async until(pattern) {
    for (const end = Date.now() + 60_000; Date.now() < end; await pause(LOOK_MS)) {
      if (pattern.test(this.#screen())) return;
    }
    const last = this.#screen();
    this.#close();
    throw new Error(`never on screen: ${pattern}\n${last}`);
  }

  /** Ends it and writes the cast. */
  async end(path, title) {
    await pause(4 * LOOK_MS);
    this.#look();
    this.#close();
    let at = 0;
    let before = this.#frames[0]?.at ?? 0;
    const events = this.#frames.map(({ at: now, screen }) => {
      at += Math.min(LONGEST_SECONDS, (now - before) / 1000);
      before = now;
      return [Number(at.toFixed(2)), 'o', `\x1b[H\x1b[2J${screen.replaceAll('\n', '\r\n')}`];
    });
    const { columns: width, rows: height } = this.#size;
    const header = { version: 2, width, height, title, duration: at + LAST_SECONDS };
    writeFileSync(path, [header, ...events].map((line) => `${JSON.stringify(line)}\n`).join(''));
  }

  #close() {
    clearInterval(this.#timer);
    this.#tmux('kill-server');
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #look() {
    const screen = this.#tmux('capture-pane', '-p', '-e').trimEnd();
    if (screen !== this.#frames.at(-1)?.screen) this.#frames.push({ at: Date.now(), screen });
  }

  #screen() {
    return this.#tmux('capture-pane', '-p');
  }

  #tmux(...words) {
    const options = ['-S', join(this.#folder, 'socket'), '-f', '/dev/null'];
    const env = {
      PATH: process.env.PATH,
      TERM: 'screen-256color',
      LC_ALL: 'C.UTF-8',
      ...this.#env,
    };
    return execFileSync('tmux', [...options, ...words], { encoding: 'utf8', env, stdio: 'pipe' });
  }
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
