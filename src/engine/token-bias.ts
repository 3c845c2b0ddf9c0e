// What is added to logits before a token is chosen: the request's own bias, and penalties for what the
// answer holds already (OpenAI API: logit_bias, presence_penalty, frequency_penalty) or what answer and prompt
// hold (repetition_penalty, which depends on the logit itself).

import type { SamplingParams } from '../addon/types.js';
import type { Sampling } from './types.js';

type Biases = Pick<
  Sampling,
  'presencePenalty' | 'frequencyPenalty' | 'repetitionPenalty' | 'logitBias'
>;

export class TokenBias {
  readonly #fixed: ReadonlyMap<number, number>;
  readonly #counts = new Map<number, number>();
  /** Of prompt and answer; empty where nobody asks. */
  readonly #seen = new Set<number>();

  /** @param prompt ids */
  constructor(
    private readonly sampling: Biases,
    prompt: readonly number[],
  ) {
    this.#fixed = new Map(
      Object.entries(sampling.logitBias).map(([id, value]) => [Number(id), value]),
    );
    if (sampling.repetitionPenalty !== 1) for (const id of prompt) this.#seen.add(id);
  }

  /** The answer has one more of this token. */
  add(id: number): void {
    this.#counts.set(id, (this.#counts.get(id) ?? 0) + 1);
    if (this.sampling.repetitionPenalty !== 1) this.#seen.add(id);
  }

  /** For the next token; null when nothing is added to any. @param logits [vocabSize], asked for only if needed */
  values(logits: () => Float32Array): SamplingParams['bias'] {
    const { presencePenalty, frequencyPenalty, repetitionPenalty } = this.sampling;
    const sums = new Map(this.#fixed);
    const plus = (id: number, value: number): void => {
      sums.set(id, (sums.get(id) ?? 0) + value);
    };
    if (this.#seen.size > 0) {
      const now = logits();
      for (const id of this.#seen) {
        const logit = now[id] ?? 0;
        const changed = logit > 0 ? logit / repetitionPenalty : logit * repetitionPenalty;
        plus(id, changed - logit);
      }
    }
    if (presencePenalty !== 0 || frequencyPenalty !== 0) {
      for (const [id, count] of this.#counts) plus(id, -presencePenalty - frequencyPenalty * count);
    }
    if (sums.size === 0) return null;
    return { ids: Int32Array.from(sums.keys()), values: Float32Array.from(sums.values()) };
  }
}
