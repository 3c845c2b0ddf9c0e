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
