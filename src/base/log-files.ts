// Log files of a process that nobody watches. The process opens and rotates its own: whoever holds a descriptor from
// outside, as service managers do, goes on writing to a file that was renamed away.

import { closeSync, fstatSync, mkdirSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { copyFile, stat, truncate } from 'node:fs/promises';
import { dirname } from 'node:path';

export interface RotatingLogOptions {
  /** Bytes after which a file is put aside. */
  maxBytes?: number;
  /** Files put aside, `.1` the newest. */
  keep?: number;
}

/** One line a call, on disk before the call returns: a crash loses none. Lines are few, so this blocks. */
export class RotatingLog {
  readonly #maxBytes: number;
  readonly #keep: number;
  #descriptor: number;
  #bytes: number;

  /** Creates folder and file where they are missing; a file that is there is continued. */
  constructor(
    readonly path: string,
    options: RotatingLogOptions = {},
  ) {
    this.#maxBytes = options.maxBytes ?? 10e6;
    this.#keep = options.keep ?? 4;
    mkdirSync(dirname(path), { recursive: true });
    this.#descriptor = openSync(path, 'a', 0o600);
    this.#bytes = fstatSync(this.#descriptor).size;
  }

  write(line: string): void {
    const text = Buffer.from(`${line}\n`);
    if (this.#bytes > 0 && this.#bytes + text.length > this.#maxBytes) this.#rotate();
    writeSync(this.#descriptor, text);
    this.#bytes += text.length;
  }

  close(): void {
    closeSync(this.#descriptor);
  }

  #rotate(): void {
    closeSync(this.#descriptor);
    rmSync(`${this.path}.${this.#keep}`, { force: true });
    for (let index = this.#keep - 1; index >= 0; index -= 1) {
      const from = index === 0 ? this.path : `${this.path}.${index}`;
      try {
        renameSync(from, `${this.path}.${index + 1}`);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      }
    }
    this.#descriptor = openSync(this.path, 'a', 0o600);
    this.#bytes = 0;
  }
}

/**
 * Copies a file that another process holds open to `<path>.1` and empties it in place, once it is longer than
 * `maxBytes`. What is written between the two is lost. True when it was done; a file that is not there is short.
 */
export async function copyTruncate(path: string, maxBytes: number): Promise<boolean> {
  const size = await stat(path).then(
    (found) => found.size,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return 0;
      throw error;
    },
  );
  if (size <= maxBytes) return false;
  await copyFile(path, `${path}.1`);
  await truncate(path);
  return true;
}
