// How probable a model finds the tokens of a text: all of them are read, none is made.

import { runJob } from '../addon/load.js';
import type { NativeEngine } from '../addon/types.js';

/** Of logits held at once: a longer piece reads each expert fewer times, a shorter one takes less memory. */
const PIECE_BYTES = 128 << 20;

/** See Engine.score. `tokens` are ids of the model. */
export async function scoreTokens(
  native: NativeEngine,
  tokens: readonly number[],
  signal: AbortSignal,
): Promise<number[]> {
  const { vocabSize } = native.info();
  const size = Math.max(1, Math.floor(PIECE_BYTES / (4 * vocabSize)));
  const session = native.createSession(tokens.length);
  const found: number[] = [];
  try {
    for (let at = 0; at < tokens.length; at += size) {
      const piece = Int32Array.from(tokens.slice(at, at + size));
      const { logits } = await runJob(session.evaluate(piece, false), signal);
      for (let row = 0; row < piece.length; row++) {
        const next = tokens[at + row + 1];
        if (next === undefined) break;
        found.push(logProbability(logits.subarray(row * vocabSize, (row + 1) * vocabSize), next));
      }
    }
  } finally {
    session.close();
  }
  return found;
}

function logProbability(logits: Float32Array, id: number): number {
  let top = -Infinity;
  for (const value of logits) if (value > top) top = value;
  let sum = 0;
  for (const value of logits) sum += Math.exp(value - top);
  return (logits[id] ?? NaN) - top - Math.log(sum);
}
