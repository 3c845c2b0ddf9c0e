// A real terminal of a given size, driven by keys and read as the screen a person would see.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Why tmux can't be used here, or null when it can. */
export function tmuxMissing(): string | null {
  try {
    execFileSync('tmux', ['-V'], { stdio: 'pipe' });
    return null;
  } catch {
    return 'SKIP terminal tests: tmux is not installed (apt install tmux, brew install tmux)';
  }
}

export interface Terminal {
  /** Lines on screen without trailing blanks. */
  screen(): string[];
  /** All that scrolled by and the screen, with wrapped lines joined. */
  history(): string;
  press(...keys: string[]): void;
  /** Another size of the window. */
  resize(size: { columns: number; rows: number }): void;
  /** Resolves with the screen once `wanted` holds; rejects with the last screen after `seconds`. */
  until(wanted: (screen: string) => boolean, seconds?: number): Promise<string>;
  cursorVisible(): boolean;
  /** Once is enough, twice does no harm. */
  close(): void;
}

/** Starts `command` in a shell that prints `exit: N` when it ends, and stays. */
export function openTerminal(
  command: readonly string[],
  size: { columns: number; rows: number },
  env: Record<string, string> = {},
): Terminal {
  const folder = mkdtempSync(join(tmpdir(), 'flashmoe-tmux-'));
  const socket = join(folder, 'socket');
  const tmux = (...args: string[]): string =>
    execFileSync('tmux', ['-S', socket, '-f', '/dev/null', ...args], {
      encoding: 'utf8',
      env: { ...withoutCi(process.env), TERM: 'screen-256color', LC_ALL: 'C.UTF-8', ...env },
      stdio: 'pipe',
    });
  const quoted = command.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ');
  const { columns, rows } = size;
  tmux(
    ...['new-session', '-d', '-x', String(columns), '-y', String(rows)],
    ...['sh', '-c', `${quoted}; echo "exit: $?"; exec sleep 600`],
  );
  let closed = false;
  const screen = (): string[] =>
    tmux('capture-pane', '-p')
      .split('\n')
      .map((line) => line.trimEnd());
  return {
    screen,
    history: () => tmux('capture-pane', '-p', '-J', '-S', '-'),
    press: (...keys) => void tmux('send-keys', ...keys),
    resize: (to) => void tmux('resize-window', '-x', `${to.columns}`, '-y', `${to.rows}`),
    until: async (wanted, seconds = 60) => {
      const deadline = Date.now() + seconds * 1000;
      for (;;) {
        const text = screen().join('\n');
        if (wanted(text)) return text;
        if (Date.now() > deadline) throw new Error(`never on screen; last:\n${text}`);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    },
    cursorVisible: () => tmux('display-message', '-p', '#{cursor_flag}').trim() === '1',
    close: () => {
      if (closed) return;
      closed = true;
      tmux('kill-server');
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** In CI the view would rightly be the plain one; here the terminal is what is tested. */
function withoutCi(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return { ...env, CI: undefined, NO_COLOR: undefined, FORCE_COLOR: undefined };
}
