// The names of the files that a store of prompts' states consists of. A file of a range [from, to) of tokens holds
// what these left in the caches; one with from = to what is fixed in size behind so many tokens. Both depend on all
// tokens from the first on, so a name has the hash of those before the range and of those up to its end.

import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import type { StatePart } from '../addon/types.js';

export interface StateFile extends StatePart {
  /** Of the tokens before the range, and of all up to its end. */
  before: string;
  upTo: string;
}

const NAME = /^([0-9a-f]{16})-(\d{1,9})-([1-9]\d{0,8})-([0-9a-f]{32})-([0-9a-f]{32})\.state$/;

/** Bytes before the tokens, as native/core/state_file.cpp writes them. */
const HEADER_BYTES = 64;

/** @param key of the engine whose states these are, 16 hex digits */
export function stateFile(
  folder: string,
  key: string,
  range: { from: number; to: number },
  hashOf: (length: number) => string,
): StateFile {
  const { from, to } = range;
  const [before, upTo] = [hashOf(from), hashOf(to)];
  return {
    path: join(folder, `${key}-${from}-${to}-${before}-${upTo}.state`),
    ...range,
    before,
    upTo,
  };
}

export function isStateName(name: string): boolean {
  return NAME.test(name);
}

/** Of a whole prompt, as an earlier version named it. */
const OLD_NAME = /^[0-9a-f]{16}-\d+-[0-9a-f]{32}\.state$/;
const PARTIAL_NAME = /^\.[0-9a-f]{12}\.partial$/;

/** Whether a store of states, of this version or an older one, gave a file this name. */
export function isOwnName(name: string): boolean {
  return NAME.test(name) || OLD_NAME.test(name) || PARTIAL_NAME.test(name);
}

/** null for a name that is not of this key. */
export function parseStateName(folder: string, key: string, name: string): StateFile | null {
  const [, found, from, to, before, upTo] = NAME.exec(name) ?? [];
  if (found !== key || before === undefined || upTo === undefined) return null;
  const range = { from: Number(from), to: Number(to) };
  return range.from > range.to ? null : { path: join(folder, name), ...range, before, upTo };
}

/** The tokens of a file's range; none where it can't be read. */
export async function readRangeTokens({ path, from, to }: StateFile): Promise<Int32Array> {
  const bytes = new Uint8Array((to - from) * Int32Array.BYTES_PER_ELEMENT);
  const file = await open(path).catch(() => null);
  try {
    const { bytesRead = 0 } = (await file?.read(bytes, 0, bytes.length, HEADER_BYTES)) ?? {};
    return bytesRead === bytes.length ? new Int32Array(bytes.buffer) : new Int32Array(0);
  } catch {
    // What is wrong with it is told when it is taken up.
    return new Int32Array(0);
  } finally {
    await file?.close();
  }
}

/** Hashes of a prompt's beginnings, each computed once. */
export class PrefixHashes {
  readonly #hashes = new Map<number, string>();
  /** Lengths whose inner state is kept, ascending: a shorter one is reached from there. */
  readonly #states: { length: number; state: ReturnType<typeof createHash> }[] = [
    { length: 0, state: createHash('sha256') },
  ];

  constructor(private readonly tokens: Int32Array) {}

  readonly at = (length: number): string => {
    const known = this.#hashes.get(length);
    if (known !== undefined) return known;
    const start = this.#states.findLast((each) => each.length <= length);
    const state = (start?.state ?? createHash('sha256')).copy();
    const piece = this.tokens.subarray(start?.length ?? 0, length);
    state.update(new Uint8Array(piece.buffer, piece.byteOffset, piece.byteLength));
    if (length > (this.#states.at(-1)?.length ?? 0)) this.#states.push({ length, state });
    // The first half; a digest ends its hash.
    const hash = state.copy().digest('hex').slice(0, 32);
    this.#hashes.set(length, hash);
    return hash;
  };
}
