// How much an answer may be thought about, in the words of several APIs.

import type { ChatRequest } from '../engine/types.js';

type Thinking = Pick<ChatRequest, 'thinking' | 'thinkingBudget' | 'templateVariables'>;

/** Tokens of thinking that an effort stands for; those not named have no limit. */
const BUDGET_OF: Record<string, number> = { minimal: 256, low: 1024, medium: 8192 };

/** @param budget tokens; 0: no thinking at all @returns null of thinking leaves it to the model's template */
export function thinkingOf(
  asked: boolean | null | undefined,
  effort: string | null | undefined,
  budget: number | null | undefined,
): Thinking {
  const word = effort ?? null;
  const limit = budget ?? (word === null ? null : (BUDGET_OF[word] ?? null));
  const wanted = asked ?? (word === null ? null : word !== 'none');
  // Templates that know efforts read this name; to the others it is nothing.
  const variables = word === null || word === 'none' ? null : { reasoning_effort: word };
  return {
    thinking: limit === 0 ? false : wanted,
    ...(limit === null || limit <= 0 ? {} : { thinkingBudget: limit }),
    ...(variables === null ? {} : { templateVariables: variables }),
  };
}
