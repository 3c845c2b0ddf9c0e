// Fields of sampling, which several APIs share: one set of bounds, one way to the engine.

import * as z from 'zod';
import type { Sampling } from '../engine/types.js';
import { given } from './wire.js';

export const samplingFields = {
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().gt(0).max(1).nullish(),
  /** -1 is how some clients say off. */
  top_k: z
    .int()
    .min(-1)
    .max(2 ** 31 - 1)
    .nullish(),
  min_p: z.number().min(0).max(1).nullish(),
  seed: z.int().nullish(),
  presence_penalty: z.number().min(-2).max(2).nullish(),
  frequency_penalty: z.number().min(-2).max(2).nullish(),
  repetition_penalty: z.number().gt(0).max(10).nullish(),
  /** llama.cpp's and Ollama's name of the same. */
  repeat_penalty: z.number().gt(0).max(10).nullish(),
  logit_bias: z
    .record(z.string().regex(/^\d{1,9}$/, 'must be a token id'), z.number().min(-100).max(100))
    .nullish(),
};

type SamplingBody = { [K in keyof typeof samplingFields]?: z.infer<(typeof samplingFields)[K]> };

/** @param choice index of an answer to the same prompt: with a seed, each has one of its own */
export function samplingOf(body: SamplingBody, choice = 0): Partial<Sampling> {
  return {
    ...given('temperature', body.temperature),
    ...given('topP', body.top_p),
    ...given('topK', body.top_k === -1 ? 0 : body.top_k),
    ...given('minP', body.min_p),
    ...given('seed', typeof body.seed === 'number' ? seedOf(body.seed, choice) : null),
    ...given('presencePenalty', body.presence_penalty),
    ...given('frequencyPenalty', body.frequency_penalty),
    ...given('repetitionPenalty', body.repetition_penalty ?? body.repeat_penalty),
    ...given('logitBias', body.logit_bias),
  };
}

/** Whole numbers below 2^53, as the engine takes them; of any whole number that JSON can say. */
export function seedOf(seed: number, choice: number): number {
  return Number(BigInt.asUintN(53, BigInt(seed) + BigInt(choice)));
}
