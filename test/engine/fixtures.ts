// Where the fixtures lie, and the one oddity of their goldens.

import { join } from 'node:path';

export function fixture(family: string): string {
  return join(import.meta.dirname, '..', 'fixtures', family);
}

/**
 * The library that computed the goldens numbers added tokens on from the 478 entries of the vocabulary;
 * tokenizer.json declares the same tokens twelve higher, and that is what the model was made with.
 * tiktoken's golden has none of them.
 */
export function declaredIds(ids: readonly number[]): number[] {
  return ids.map((id) => (id >= 478 ? id + 12 : id));
}

/** Fixtures with golden conversations. */
export const WITH_CHAT = [
  ...['qwen3_5_moe', 'qwen3_moe', 'qwen3_next', 'qwen4_exp', 'deepseek_v3', 'glm_moe_dsa'],
  ...['glm4_moe', 'minimax_m2', 'gpt_oss'],
];

/** Fixtures with golden texts and ids; the last two have a tiktoken.model. */
export const WITH_TOKENIZER = [...WITH_CHAT, 'kimi_k2', 'kimi_k25'];
