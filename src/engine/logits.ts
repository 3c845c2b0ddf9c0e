// Logits at every position of a sequence, written while they are computed: one safetensors file with the
// tensor `logits` [positions, vocab] F32. For bug reports and comparisons with other implementations.

import { open, rename, rm } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { runJob } from '../addon/load.js';
import type { NativeEngine, NativeSession } from '../addon/types.js';
import { PARTIAL_SUFFIX } from '../base/atomic-file.js';
import { asFlashmoeError, FlashmoeError } from '../base/errors.js';

/** Of logits held at once. A longer piece reads each expert fewer times, a shorter one takes less memory. */
const PIECE_BYTES = 128 << 20;

export interface LogitsOptions {
  native: NativeEngine;
  tokens: readonly number[];
  /** Takes its name only when it is whole. */
  target: string;
  /** Goes into the file beside the tensor: what the numbers are of. */
  about: Readonly<Record<string, string>>;
  signal: AbortSignal;
  onProgress: (done: number, total: number) => void;
}

export interface LogitsWritten {
  positions: number;
  vocabSize: number;
  bytes: number;
}

/** ERR_USAGE for what is no token, ERR_CONTEXT for more than model or memory allow, before any work. */
export async function writeLogits(options: LogitsOptions): Promise<LogitsWritten> {
  const { native, tokens, target, signal } = options;
  const { vocabSize } = native.info();
  const wrong = tokens.find((id) => !Number.isInteger(id) || id < 0 || id >= vocabSize);
  if (tokens.length === 0 || wrong !== undefined) {
    const what = tokens.length === 0 ? 'there are no tokens' : `${String(wrong)} is no token id`;
    throw new FlashmoeError('ERR_USAGE', `${what}; ids go from 0 to ${vocabSize - 1}`);
  }
  const partial = target + PARTIAL_SUFFIX;
  const session = sessionFor(native, tokens.length);
  try {
    const file = await open(partial, 'w');
    await pipeline(pieces(session, vocabSize, options), file.createWriteStream(), { signal });
    await rename(partial, target);
  } catch (thrown) {
    await rm(partial, { force: true });
    if (signal.aborted) throw new FlashmoeError('ERR_INTERRUPTED', `${target} was not written`);
    throw asFlashmoeError(thrown);
  } finally {
    session.close();
  }
  const positions = tokens.length;
  return { positions, vocabSize, bytes: positions * vocabSize * 4 };
}

async function* pieces(
  session: NativeSession,
  vocabSize: number,
  { tokens, about, signal, onProgress }: LogitsOptions,
): AsyncGenerator<Uint8Array, void> {
  yield header(tokens.length, vocabSize, about);
  const size = Math.max(1, Math.floor(PIECE_BYTES / (4 * vocabSize)));
  for (let at = 0; at < tokens.length; at += size) {
    const piece = Int32Array.from(tokens.slice(at, at + size));
    const { logits } = await runJob(session.evaluate(piece, false), signal);
    // Every machine that the engine runs on is little-endian, as the format is.
    yield new Uint8Array(logits.buffer, logits.byteOffset, logits.byteLength);
    onProgress(at + piece.length, tokens.length);
  }
}

/** Length, then JSON, padded so that the tensor begins on a multiple of 8 as readers that map the file like it. */
function header(
  positions: number,
  vocabSize: number,
  about: Readonly<Record<string, string>>,
): Uint8Array {
  const size = positions * vocabSize * 4;
  const logits = { dtype: 'F32', shape: [positions, vocabSize], data_offsets: [0, size] };
  const json = Buffer.from(JSON.stringify({ __metadata__: about, logits }));
  const text = Buffer.concat([json, Buffer.alloc(-json.length & 7, ' ')]);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text]);
}

function sessionFor(native: NativeEngine, tokens: number): NativeSession {
  try {
    return native.createSession(tokens);
  } catch (thrown) {
    throw asFlashmoeError(thrown);
  }
}
