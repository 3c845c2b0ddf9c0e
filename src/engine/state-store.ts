// States of prompts in files below one folder: found by the tokens a prompt begins with, added whole, the
// longest unused going first when the folder is full. A file's name is a hint; what is in it is checked by the
// native session, token by token, before it is used. The folder holds what people wrote: nobody else may read it.

import { createHash, randomBytes } from 'node:crypto';
import { chmod, lstat, mkdir, readdir, rename, rm, stat, statfs, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { runJob } from '../addon/load.js';
import type { NativeJob } from '../addon/types.js';
import { PARTIAL_SUFFIX } from '../base/atomic-file.js';
import { asFlashmoeError, FlashmoeError } from '../base/errors.js';

export interface StateStoreOptions {
  /** Of all models; created. */
  root: string;
  /** Folder below it. */
  id: string;
  /** Of all files below `root`. */
  maxBytes: number;
  /** What computes the states, with its version: others are not taken up. */
  program: string;
  /** Milliseconds since the epoch. */
  now: () => number;
  /** What went wrong without harm to any answer. */
  notice: (error: FlashmoeError) => void;
}

export interface SavedState {
  path: string;
  /** Tokens. */
  length: number;
}

interface StateFile {
  path: string;
  bytes: number;
  /** Milliseconds since the epoch. */
  used: number;
}

/** `0123456789abcdef-512-<32 hex digits>.state`: the engine's key, how many tokens, and which. */
const NAME = /^([0-9a-f]{16})-([1-9]\d{0,8})-([0-9a-f]{32})\.state$/;

/** A partial file without an owner after so long: writing one takes seconds. */
const STALE_MS = 60 * 60 * 1000;

/** Always left to others on the volume. */
const SPARE_BYTES = 2 ** 31;

export class StateStore {
  readonly program: string;
  readonly #folder: string;

  /** @param key of the engine whose states these are, 16 hex digits */
  private constructor(
    private readonly options: StateStoreOptions,
    private readonly key: string,
    private readonly bytesOf: (tokens: number) => number,
  ) {
    this.program = options.program;
    this.#folder = join(options.root, options.id);
  }

  /**
   * Makes the folders and takes away what is not a state. null, and a notice, where that can't be done.
   * `bytesOf`: what a state of so many tokens takes.
   */
  static async open(
    options: StateStoreOptions,
    key: string,
    bytesOf: (tokens: number) => number,
  ): Promise<StateStore | null> {
    const store = new StateStore(options, key, bytesOf);
    try {
      for (const folder of [options.root, store.#folder]) await ownFolder(folder);
      await store.#sweep();
      return store;
    } catch (thrown) {
      store.#tell('states of prompts are not kept', thrown);
      return null;
    }
  }

  /** States of beginnings of `prompt`, the longest last; never of all of it, since they have no logits. */
  async find(prompt: readonly number[]): Promise<SavedState[]> {
    const names = await readdir(this.#folder).catch(() => []);
    const wanted = names
      .flatMap((name) => {
        const [, key, count, tokens] = NAME.exec(name) ?? [];
        const length = Number(count);
        if (key !== this.key || tokens === undefined || !(length < prompt.length)) return [];
        return [{ path: join(this.#folder, name), length, tokens }];
      })
      .sort((a, b) => a.length - b.length);
    if (wanted.length === 0) return [];
    const hash = createHash('sha256');
    let hashed = 0;
    return wanted.filter(({ length, tokens }) => {
      hash.update(bytesOfTokens(Int32Array.from(prompt.slice(hashed, length))));
      hashed = length;
      return digest(hash) === tokens;
    });
  }

  /** Runs `write` on a temporary name; room is made before. Whatever goes wrong is a notice. */
  async add(tokens: Int32Array, write: (path: string) => NativeJob<number>): Promise<void> {
    const hash = digest(createHash('sha256').update(bytesOfTokens(tokens)));
    const name = `${this.key}-${tokens.length}-${hash}.state`;
    const partial = join(this.#folder, `.${randomBytes(6).toString('hex')}${PARTIAL_SUFFIX}`);
    const enough = new AbortController();
    try {
      // The native session takes its snapshot here, before it may go on.
      const written = runJob(write(partial), enough.signal);
      const room = await this.#makeRoom(this.bytesOf(tokens.length)).catch((thrown: unknown) => {
        this.#tell('there may be no room for states of prompts', thrown);
        return false;
      });
      if (!room) enough.abort();
      await written;
      await rename(partial, join(this.#folder, name));
    } catch (thrown) {
      if (!enough.signal.aborted) this.#tell('the state of a prompt was not kept', thrown);
      await rm(partial, { force: true });
    }
  }

  /** It was taken up: the others go first. */
  async use({ path }: SavedState): Promise<void> {
    const now = new Date(this.options.now());
    await utimes(path, now, now).catch(() => undefined);
  }

  /** It can't be taken up, and goes. */
  async refuse({ path }: SavedState, why: unknown): Promise<void> {
    await rm(path, { force: true });
    this.#tell('a saved state of a prompt was deleted, the prompt is read instead', why);
  }

  /** False when there is no room for so much, whatever goes. */
  async #makeRoom(bytes: number): Promise<boolean> {
    if (bytes > this.options.maxBytes) return false;
    const files = await this.#files();
    let held = files.reduce((sum, file) => sum + file.bytes, 0);
    const { bavail, bsize } = await statfs(this.#folder);
    let free = bavail * bsize;
    for (const file of files.sort((a, b) => a.used - b.used)) {
      if (held + bytes <= this.options.maxBytes && free >= bytes + SPARE_BYTES) break;
      await rm(file.path, { force: true });
      held -= file.bytes;
      free += file.bytes;
    }
    return free >= bytes + SPARE_BYTES;
  }

  /** Of all models. */
  async #files(): Promise<StateFile[]> {
    const entries = await readdir(this.options.root, { recursive: true, withFileTypes: true });
    const found = entries
      .filter((entry) => entry.isFile() && NAME.test(entry.name))
      .map(async (entry): Promise<StateFile[]> => {
        const path = join(entry.parentPath, entry.name);
        // Another process may have taken it away.
        const status = await stat(path).catch(() => null);
        return status === null ? [] : [{ path, bytes: status.size, used: status.mtimeMs }];
      });
    return (await Promise.all(found)).flat();
  }

  /** What a crash left, and what was never ours. */
  async #sweep(): Promise<void> {
    for (const entry of await readdir(this.#folder, { withFileTypes: true })) {
      const path = join(this.#folder, entry.name);
      if (entry.isDirectory() || (entry.isFile() && NAME.test(entry.name))) continue;
      const isPartial = entry.name.endsWith(PARTIAL_SUFFIX);
      const changed = (await lstat(path).catch(() => null))?.mtimeMs ?? 0;
      // A younger one may be another process's.
      if (isPartial && this.options.now() - changed < STALE_MS) continue;
      await rm(path, { force: true });
    }
  }

  #tell(what: string, thrown: unknown): void {
    const cause = asFlashmoeError(thrown);
    this.options.notice(new FlashmoeError(cause.code, `${what}: ${cause.message}`, { cause }));
  }
}

/** Ours alone, and no link to somewhere else. */
async function ownFolder(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 });
  if (!(await lstat(path)).isDirectory()) {
    throw new FlashmoeError('ERR_HOME', `${path} is a link or no folder`, { subject: path });
  }
  await chmod(path, 0o700);
}

/** The first half of a hash so far, in hex. */
function digest(hash: ReturnType<typeof createHash>): string {
  return hash.copy().digest('hex').slice(0, 32);
}

function bytesOfTokens(tokens: Int32Array): Uint8Array {
  return new Uint8Array(tokens.buffer, tokens.byteOffset, tokens.byteLength);
}
