// A text of our own, read twice: what a model makes of it shows in figures whether its weights are all there and in their
// places, whatever it was trained on. Pure.

import type { Quant } from '../models/quant.js';
import type { PassageFigures } from '../store/receipt.js';

/** Written for this check, so that no model knows it by heart. */
export const PASSAGE =
  'The old lighthouse keeper counted seventeen ships before noon, wrote their names in a blue ledger, and went down to the harbour to ask about bread. Nobody in the harbour had seen a baker since Tuesday.';

/**
 * Perplexity of the second reading, by token. A model that works copies what it has just read: large ones come near to 1,
 * the bundled one, which never saw prose, has 2.2 (2.5 at two bits). With two of its layers exchanged or with gate and up
 * exchanged it has 3.7 or more, with random weights thousands.
 */
const AGAIN_BOUND: Readonly<Record<Quant, number>> = {
  '5bit': 3,
  '4bit': 3,
  '3bit': 3.1,
  mixed: 3,
  tiered: 3.3,
  '2bit': 3.3,
};

/**
 * Bits a byte of the first reading. Models that were trained on prose need about 1; one that only knows how often each letter
 * occurs needs 4.
 */
const PROSE_BOUND: Readonly<Record<Quant, number>> = {
  '5bit': 2,
  '4bit': 2,
  '3bit': 2.1,
  mixed: 2,
  tiered: 2.4,
  '2bit': 2.4,
};
/** Shorter tokens are those of a vocabulary that wasn't made for prose: then what the first reading costs says nothing. */
const PROSE_BYTES_PER_TOKEN = 3.5;

/** Root mean square distance to the recorded figures of the same weights: arithmetic in another order stays below 0.1. */
const KNOWN_BOUND = 0.3;

export interface Reading {
  /** Of the first reading, ended by an empty line, and of the second. */
  first: readonly number[];
  again: readonly number[];
}

export interface PassageVerdict {
  figures: PassageFigures;
  reasons: string[];
  notJudged: string[];
}

/** `logprobs`: of every token but the first. `known`: the same of this very model, recorded; null where nobody did. */
export function judgePassage(
  { first, again }: Reading,
  logprobs: readonly number[],
  quant: Quant,
  known: readonly number[] | null,
): PassageVerdict {
  const bytes = Buffer.byteLength(PASSAGE) + 2;
  const nats = (some: readonly number[]): number => -some.reduce((sum, value) => sum + value, 0);
  const bitsPerByte = nats(logprobs.slice(0, first.length - 1)) / Math.LN2 / bytes;
  const perplexity = Math.exp(nats(logprobs.slice(-again.length)) / again.length);
  const bound = AGAIN_BOUND[quant];
  const reasons: string[] = [];
  const notJudged: string[] = [];
  // NaN is never below a bound.
  if (!(perplexity <= bound)) {
    reasons.push(
      `a passage read twice has a perplexity of ${figure(perplexity)}, where ${bound} is the most at ${quant}`,
    );
  }
  if (bytes / first.length < PROSE_BYTES_PER_TOKEN) {
    notJudged.push('prose: its tokens are too short for a model of prose');
  } else if (!(bitsPerByte <= PROSE_BOUND[quant])) {
    reasons.push(
      `prose costs it ${figure(bitsPerByte)} bits a byte, where ${PROSE_BOUND[quant]} is the most at ${quant}`,
    );
  }
  if (known === null) {
    notJudged.push('figures of this very model: nobody has recorded them');
  } else {
    const away = distance(logprobs, known);
    if (!(away <= KNOWN_BOUND)) {
      reasons.push(
        `what it makes of a passage is ${figure(away)} nats a token from what these weights are known to make of it`,
      );
    }
  }
  const ok = reasons.length === 0;
  return { figures: { bitsPerByte, perplexity, bound, ok }, reasons, notJudged };
}

function distance(found: readonly number[], known: readonly number[]): number {
  if (found.length !== known.length) return Infinity;
  const sum = found.reduce((so, value, index) => so + (value - (known[index] ?? NaN)) ** 2, 0);
  return Math.sqrt(sum / found.length);
}

function figure(value: number): string {
  return Number.isFinite(value) ? String(Number(value.toPrecision(3))) : 'no number';
}
