// What the model thought of a token and of its alternatives.

import type { Vocabulary } from './tokenizer-types.js';
import type { TokenLogprob } from './types.js';

/**
 * log softmax at `id` and at the `count` most probable tokens.
 * @param logits [vocabSize]; rows from the tokenizer's limit on are padding and have no probability
 */
export function tokenLogprob(
  id: number,
  logits: Float32Array,
  count: number,
  tokenizer: Vocabulary,
): TokenLogprob {
  const rows = logits.subarray(0, tokenizer.tokenLimit);
  let largest = -Infinity;
  for (const logit of rows) if (logit > largest) largest = logit;
  let sum = 0;
  for (const logit of rows) sum += Math.exp(logit - largest);
  const norm = largest + Math.log(sum);
  const entry = (token: number): Omit<TokenLogprob, 'top'> => {
    const bytes = tokenizer.bytes(token);
    return {
      text: new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes),
      bytes: [...bytes],
      // JSON has no infinity; this is the API's own word for "impossible".
      logprob: Math.max(-9999, (rows[token] ?? -Infinity) - norm),
    };
  };
  return { ...entry(id), top: largestIds(rows, count).map(entry) };
}

/** Ids of the `count` largest values, descending; the lower id first of equals. */
function largestIds(values: Float32Array, count: number): number[] {
  const best: number[] = [];
  const value = (id: number | undefined): number => values[id ?? -1] ?? -Infinity;
  for (let id = 0; count > 0 && id < values.length; id++) {
    if (best.length === count && value(id) <= value(best.at(-1))) continue;
    let at = best.length;
    while (at > 0 && value(best[at - 1]) < value(id)) at--;
    best.splice(at, 0, id);
    best.length = Math.min(best.length, count);
  }
  return best;
}
