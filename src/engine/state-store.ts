// States of prompts in files below one folder. What tokens left in the caches is stored once for all prompts that
// begin with them, in blocks; what is fixed in size, at the marks of a session. A prompt takes up the longest beginning
// that is there. A file's name is a hint; what is in it is checked by the native session, token by token, before it is
// used. The longest unused go first when the folder is full. It holds what people wrote: nobody else may read it.

import { randomBytes } from 'node:crypto';
import { chmod, lstat, mkdir, readdir, rename, stat, statfs, utimes } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { runJob } from '../addon/load.js';
import type { NativeJob, StatePart } from '../addon/types.js';
import { PARTIAL_SUFFIX } from '../base/atomic-file.js';
import { asFlashmoeError, FlashmoeError } from '../base/errors.js';
import { removeOwned, type OwnedFolder } from '../base/owned-files.js';
import {
  isOwnName,
  isStateName,
  parseStateName,
  PrefixHashes,
  readRangeTokens,
  stateFile,
  type StateFile,
} from './state-files.js';

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

/** Bytes of a state: what each token adds, and what is fixed in size; 0 where nothing is. */
export interface StateSizes {
  perToken: number;
  fixed: number;
}

export interface SavedState {
  /** Tokens. */
  length: number;
  /** As the native session takes them. */
  parts: StateFile[];
  /** Files of the same beginning that `parts` leaves out, since the session has what is in them. */
  held: StateFile[];
}

/** Tokens of a whole block. */
export const BLOCK_TOKENS = 256;

/** A partial file without an owner after so long: writing one takes seconds. */
const STALE_MS = 60 * 60 * 1000;

/** Always left to others on the volume. */
const SPARE_BYTES = 2 ** 31;

/** Of a file's header, rounded up. */
const HEADER_BYTES = 4096;

export class StateStore {
  readonly program: string;
  readonly #folder: string;
  /** Paths that were there when the folder was last read. */
  #seen = new Set<string>();

  /** @param key of the engine whose states these are, 16 hex digits */
  private constructor(
    private readonly options: StateStoreOptions,
    private readonly key: string,
    private readonly sizes: StateSizes,
  ) {
    this.program = options.program;
    this.#folder = join(options.root, options.id);
  }

  /** Makes the folders and takes away what is not a state. null, and a notice, where that can't be done. */
  static async open(
    options: StateStoreOptions,
    key: string,
    sizes: StateSizes,
  ): Promise<StateStore | null> {
    const store = new StateStore(options, key, sizes);
    try {
      for (const folder of [options.root, store.#folder]) await ownFolder(folder);
      await store.#sweep();
      return store;
    } catch (thrown) {
      store.#tell('states of prompts are not kept', thrown);
      return null;
    }
  }

  /**
   * The longest beginning of `prompt` that is here; never all of it, since there are no logits. null for none.
   * @param held of the prompt's first tokens the session has the caches, so that no file of these is needed
   */
  async find(prompt: Int32Array, held: number): Promise<SavedState | null> {
    const files = await this.#own();
    const hashes = new PrefixHashes(prompt);
    const { chain, covered } = await this.#follow(files, prompt, hashes);
    const most = Math.min(Math.max(covered, held), prompt.length - 1);
    const fixed = files
      .filter(({ from, to }) => from === to && to <= most)
      .sort((a, b) => b.to - a.to)
      .find(({ to, upTo }) => hashes.at(to) === upTo);
    const length = this.sizes.fixed === 0 ? most : (fixed?.to ?? 0);
    if (length === 0) return null;
    const needed = chain.filter(({ from, to }) => from < length && to > held);
    const others = chain.filter((file) => file.from < length && !needed.includes(file));
    return { length, parts: fixed === undefined ? needed : [...needed, fixed], held: others };
  }

  /**
   * Adds what is not here yet of the caches of `tokens` and of the states behind `marks`. `write` is called at once, if
   * at all, and writes files under temporary names; room is made beside it. Whatever goes wrong is a notice.
   */
  async add(
    tokens: Int32Array,
    marks: readonly number[],
    write: (parts: StatePart[]) => NativeJob<number>,
  ): Promise<void> {
    const wanted = this.#partsOf(tokens, marks);
    const missing = wanted.filter(({ path }) => !this.#seen.has(path));
    if (missing.length === 0) return;
    const parts = missing.map(({ from, to }): StatePart => {
      const name = `.${randomBytes(6).toString('hex')}${PARTIAL_SUFFIX}`;
      return { path: join(this.#folder, name), from, to };
    });
    const enough = new AbortController();
    try {
      const written = runJob(write(parts), enough.signal);
      const keep = new Set(wanted.map(({ path }) => path));
      await this.#touch(wanted.filter(({ path }) => this.#seen.has(path)));
      const room = await this.#makeRoom(missing, keep).catch((thrown: unknown) => {
        this.#tell('there may be no room for states of prompts', thrown);
        return 0;
      });
      if (room === 0) enough.abort();
      await written;
      for (const [i, file] of missing.slice(0, room).entries()) {
        await rename(parts[i]?.path ?? '', file.path);
        this.#seen.add(file.path);
      }
      await this.#drop(this.#superseded(await this.#own(), tokens));
    } catch (thrown) {
      if (!enough.signal.aborted) this.#tell('the state of a prompt was not kept', thrown);
    }
    for (const { path } of parts) await removeOwned(this.#owner, path);
  }

  /** It was taken up: the others go first. */
  async use({ parts, held }: SavedState): Promise<void> {
    await this.#touch([...held, ...parts]);
  }

  /** It can't be taken up; what is wrong with it goes. */
  async refuse({ parts }: SavedState, why: unknown): Promise<void> {
    const { message } = asFlashmoeError(why);
    const named = parts.filter(({ path }) => message.includes(path));
    await this.#drop(named.length > 0 ? named : parts);
    this.#tell('a saved state of a prompt was deleted, the prompt is read instead', why);
  }

  get #owner(): OwnedFolder {
    return { root: this.options.root, owns: (path) => isOwnName(basename(path)) };
  }

  async #own(): Promise<StateFile[]> {
    const names = await readdir(this.#folder).catch(() => []);
    const files = names.flatMap((name) => parseStateName(this.#folder, this.key, name) ?? []);
    this.#seen = new Set(files.map(({ path }) => path));
    return files;
  }

  /** Block after block, each the one that goes on with the most tokens of `prompt`. */
  async #follow(
    files: readonly StateFile[],
    prompt: Int32Array,
    hashes: PrefixHashes,
  ): Promise<{ chain: StateFile[]; covered: number }> {
    const after = new Map<number, StateFile[]>();
    for (const file of files) {
      if (file.from < file.to) after.set(file.from, [...(after.get(file.from) ?? []), file]);
    }
    const chain: StateFile[] = [];
    for (let at = 0; ;) {
      let best: StateFile | null = null;
      let reached = at;
      for (const file of after.get(at) ?? []) {
        if (file.before !== hashes.at(at)) continue;
        const agrees =
          file.to <= prompt.length && file.upTo === hashes.at(file.to)
            ? file.to
            : at + agreement(await readRangeTokens(file), prompt.subarray(at));
        if (agrees > reached) [best, reached] = [file, agrees];
      }
      if (best === null) return { chain, covered: at };
      chain.push(best);
      at = reached;
      if (at < best.to) return { chain, covered: at };
    }
  }

  /** In the order in which they are of use. */
  #partsOf(tokens: Int32Array, marks: readonly number[]): StateFile[] {
    const hashes = new PrefixHashes(tokens);
    const part = (from: number, to: number) =>
      stateFile(this.#folder, this.key, { from, to }, hashes.at);
    const parts: StateFile[] = [];
    const fixed = this.sizes.fixed === 0 ? [] : marks;
    for (let from = 0; from < tokens.length; from += BLOCK_TOKENS) {
      const to = Math.min(from + BLOCK_TOKENS, tokens.length);
      parts.push(part(from, to));
      parts.push(
        ...fixed.filter((mark) => mark > from && mark <= to).map((mark) => part(mark, mark)),
      );
    }
    return parts;
  }

  /** Ends of prompts that a longer block has now. */
  #superseded(files: readonly StateFile[], tokens: Int32Array): StateFile[] {
    const hashes = new PrefixHashes(tokens);
    return files.filter(({ from, to, before, upTo }) => {
      const whole = Math.min(from + BLOCK_TOKENS, tokens.length);
      return from < to && to < whole && before === hashes.at(from) && upTo === hashes.at(to);
    });
  }

  /** How many of `files` there is room for, once others have gone; those of `keep` stay. */
  async #makeRoom(files: readonly StateFile[], keep: ReadonlySet<string>): Promise<number> {
    const present = await this.#present();
    let held = present.reduce((sum, file) => sum + file.bytes, 0);
    const { bavail, bsize } = await statfs(this.#folder);
    let free = bavail * bsize;
    const others = present
      .filter(({ path }) => !keep.has(path))
      .sort((a, b) => a.used - b.used || b.to - a.to);
    let count = 0;
    let bytes = 0;
    for (const file of files) {
      bytes +=
        HEADER_BYTES +
        (file.from === file.to ? this.sizes.fixed : (file.to - file.from) * this.sizes.perToken);
      const fits = (): boolean =>
        held + bytes <= this.options.maxBytes && free >= bytes + SPARE_BYTES;
      while (!fits()) {
        const oldest = others.shift();
        if (oldest === undefined) return count;
        await removeOwned(this.#owner, oldest.path);
        this.#seen.delete(oldest.path);
        held -= oldest.bytes;
        free += oldest.bytes;
      }
      count++;
    }
    return count;
  }

  /** Of all models. */
  async #present(): Promise<{ path: string; to: number; bytes: number; used: number }[]> {
    const entries = await readdir(this.options.root, { recursive: true, withFileTypes: true });
    const found = entries
      .filter((entry) => entry.isFile() && isStateName(entry.name))
      .map(async (entry) => {
        const path = join(entry.parentPath, entry.name);
        // Another process may have taken it away.
        const status = await stat(path).catch(() => null);
        const to = Number(entry.name.split('-')[2]);
        return status === null ? [] : [{ path, to, bytes: status.size, used: status.mtimeMs }];
      });
    return (await Promise.all(found)).flat();
  }

  /** All at one time, so that of one prompt the end goes before the beginning. */
  async #touch(files: readonly StateFile[]): Promise<void> {
    const now = new Date(this.options.now());
    await Promise.all(files.map(({ path }) => utimes(path, now, now).catch(() => undefined)));
  }

  async #drop(files: readonly StateFile[]): Promise<void> {
    for (const { path } of files) {
      await removeOwned(this.#owner, path);
      this.#seen.delete(path);
    }
  }

  /** What a crash left, and states that an older version wrote. */
  async #sweep(): Promise<void> {
    for (const entry of await readdir(this.#folder, { withFileTypes: true })) {
      const path = join(this.#folder, entry.name);
      const isPartial = entry.name.endsWith(PARTIAL_SUFFIX);
      if (!entry.isFile() || !isOwnName(entry.name) || isStateName(entry.name)) continue;
      const changed = (await lstat(path).catch(() => null))?.mtimeMs ?? 0;
      // A younger one may be another process's.
      if (isPartial && this.options.now() - changed < STALE_MS) continue;
      await removeOwned(this.#owner, path);
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

/** How many tokens two begin with alike. */
export function agreement(left: ArrayLike<number>, right: ArrayLike<number>): number {
  const most = Math.min(left.length, right.length);
  for (let at = 0; at < most; at++) if (left[at] !== right[at]) return at;
  return most;
}
