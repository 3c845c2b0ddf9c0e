// What is added to logits before a token is chosen: the request's own bias, and penalties for what the
// answer holds already (OpenAI API: logit_bias, presence_penalty, frequency_penalty).

import type { SamplingParams } from '../addon/types.js';
import type { Sampling } from './types.js';

export class TokenBias {
  readonly #fixed: ReadonlyMap<number, number>;
  readonly #counts = new Map<number, number>();

  constructor(
    private readonly sampling: Pick<Sampling, 'presencePenalty' | 'frequencyPenalty' | 'logitBias'>,
  ) {
    this.#fixed = new Map(
      Object.entries(sampling.logitBias).map(([id, value]) => [Number(id), value]),
    );
  }

  /** The answer has one more of this token. */
  add(id: number): void {
    this.#counts.set(id, (this.#counts.get(id) ?? 0) + 1);
  }

  /** For the next token; null when nothing is added to any. */
  get values(): SamplingParams['bias'] {
    const { presencePenalty, frequencyPenalty } = this.sampling;
    const sums = new Map(this.#fixed);
    if (presencePenalty !== 0 || frequencyPenalty !== 0) {
      for (const [id, count] of this.#counts) {
        const penalty = presencePenalty + frequencyPenalty * count;
        sums.set(id, (sums.get(id) ?? 0) - penalty);
      }
    }
    if (sums.size === 0) return null;
    return { ids: Int32Array.from(sums.keys()), values: Float32Array.from(sums.values()) };
  }
}
