// What Ink draws on. It knows what stands on the screen and draws it anew when the window changes its size: a terminal folds
// the lines of the old frame then, and Ink, which counts them as they were, would leave some above the new one, or wipe what
// scrolled by. What is printed for good goes through print() and scrolls away above the frame.

import { Writable } from 'node:stream';
import textWidth from 'fast-string-width';
import { wrapText } from '../table.js';
import type { Size } from './Frame.js';

/** A drag changes the size many times; it is drawn when it rests. */
const REST_MS = 60;
/** A frame written this shortly before a change may have met the window as it was, or as it is. */
const DOUBTFUL_MS = 200;
/** Printed lines wait this long for the frame that comes with them; more than a frame takes. */
const PRINT_MS = 300;
/** Remembered of what was printed: more than a window is high. */
const KEPT_LINES = 500;

const BEGIN = '\u001B[?2026h';
const END = '\u001B[?2026l';
const ERASES_BELOW = '\u001B[J';
const CURSOR = /^\u001B\[\?25[hl]$/;
/** How Ink takes its last frame away; here that is done by what was counted. */
const INK_ERASES = /^(?:\u001B\[2K(?:\u001B\[1A)?)+\u001B\[G/;
const SYNCHRONIZES = /^\u001B\[\?2026[hl]$/;

export class TerminalWindow extends Writable {
  readonly isTTY = true;
  /** For Ink, which wipes the scrollback when a frame is as high as the window; `size` says how high it is. */
  readonly rows = Number.POSITIVE_INFINITY;
  columns: number;
  #size: Size;
  #printed: string[] = [];
  #pending: string[] = [];
  /** As Ink wants it, and what stands on the screen of it. */
  #wanted: string[] = [];
  #shown: string[] = [];
  #shownBefore: string[] = [];
  /** Runs from a frame on, for as long as a change puts it in doubt. */
  #doubting: NodeJS.Timeout | null = null;
  #isDoubtful = false;
  /** A smaller window pushed a part of a frame into the scrollback, and a larger one may bring it back. */
  #isBuried = false;
  #changes = false;
  #resting: NodeJS.Timeout | undefined;
  #printing: NodeJS.Timeout | undefined;
  readonly #listeners = new Set<() => void>();

  constructor(private readonly terminal: NodeJS.WriteStream) {
    super({ decodeStrings: false });
    this.#size = sizeOf(terminal);
    this.columns = this.#size.columns;
    terminal.on('resize', this.#onResize);
  }

  readonly size = (): Size => this.#size;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** Lines that stay, above the frame. They come together with the next frame. */
  print(lines: readonly string[]): void {
    this.#pending.push(...lines);
    this.#printing ??= setTimeout(() => this.#draw(), PRINT_MS);
  }

  /** Called when the view is laid out for `size`: draws after a change, else does nothing. */
  readonly settle = (): void => {
    if (!this.#changes) return;
    // Ink draws for its new width now; that is taken as what is wanted.
    this.emit('resize');
    this.#takeAway();
    this.#changes = false;
    this.#draw();
  };

  /** What is pending is drawn; from here on the terminal is somebody else's. */
  finish(): void {
    clearTimeout(this.#resting);
    this.terminal.off('resize', this.#onResize);
    this.#changes = false;
    this.#draw();
  }

  override _write(chunk: string, _encoding: string, done: () => void): void {
    if (CURSOR.test(chunk)) this.terminal.write(chunk);
    else if (!SYNCHRONIZES.test(chunk)) this.#take(chunk.replace(INK_ERASES, ''));
    done();
  }

  #take(frame: string): void {
    if (frame === '') return;
    this.#wanted = frame.replace(/\n$/, '').split('\n');
    this.#draw();
  }

  readonly #onResize = (): void => {
    this.#changes = true;
    this.#isDoubtful ||= this.#doubting !== null;
    clearTimeout(this.#resting);
    this.#resting = setTimeout(() => {
      this.#size = sizeOf(this.terminal);
      this.columns = this.#size.columns;
      for (const listener of this.#listeners) listener();
    }, REST_MS);
  };

  #draw(): void {
    if (this.#changes) return;
    clearTimeout(this.#printing);
    this.#printing = undefined;
    // A frame higher than the window could not be taken away again: its end is what matters.
    const frame = this.#wanted.slice(-Math.max(1, this.#size.rows - 1));
    const text = [...this.#pending, ...frame].map((line) => `${line}\n`).join('');
    this.terminal.write(BEGIN + erase(this.#shown.length + 1) + text + END);
    this.#printed = [...this.#printed, ...this.#pending].slice(-KEPT_LINES);
    this.#pending = [];
    this.#shownBefore = this.#shown;
    this.#shown = frame;
    if (this.#doubting !== null) clearTimeout(this.#doubting);
    this.#doubting = setTimeout(() => (this.#doubting = null), DOUBTFUL_MS).unref();
  }

  /** Erases the old frame, and what was printed as far as it is in the window: that is printed again, in lines that fit. */
  #takeAway(): void {
    const { columns, rows } = this.#size;
    const height = (lines: readonly string[]): number =>
      lines.reduce((sum, line) => sum + Math.max(1, Math.ceil(textWidth(line) / columns)), 0);
    const frameRows = height(this.#shown) + 1;
    const again: string[] = [];
    let left = rows - frameRows;
    while (left > 0) {
      const line = this.#printed.pop();
      if (line === undefined) break;
      left -= height([line]);
      again.unshift(...wrapText(line, columns - 1));
    }
    this.#isBuried ||= frameRows > rows;
    const doubtful = this.#isDoubtful ? height(this.#shownBefore) - this.#shownBefore.length : 0;
    // What stood there before this program began stays, unless an old frame may be among it.
    const ours = this.#isBuried ? rows : Math.min(rows, rows - left + doubtful);
    this.terminal.write(ERASES_BELOW + erase(ours));
    this.#pending.unshift(...again);
    this.#shown = [];
    this.#isDoubtful = false;
  }
}

function sizeOf({ columns, rows }: NodeJS.WriteStream): Size {
  return { columns: columns || 80, rows: rows || 24 };
}

/** From the line of the cursor upwards; the cursor is at the beginning of the uppermost then. */
function erase(lines: number): string {
  return `${Array<string>(lines).fill('\u001B[2K').join('\u001B[1A')}\r`;
}
