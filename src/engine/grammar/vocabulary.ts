// A vocabulary as the grammar library wants it, in memory that threads share: made once, however many threads
// there are.

import { entryOfBytes } from '../byte-level.js';
import type { Vocabulary } from '../tokenizer-types.js';

export interface SharedVocabulary {
  /** All entries in the byte alphabet, one after the other, as Uint16. */
  characters: SharedArrayBuffer;
  /** Where each token's entry ends in them [tokens], as Uint32. */
  ends: SharedArrayBuffer;
}

/** @param hidden tokens whose text isn't part of an answer: they have no entry, so no grammar allows them */
export function shareVocabulary(
  tokenizer: Pick<Vocabulary, 'bytes' | 'tokenLimit'>,
  hidden: ReadonlySet<number>,
): SharedVocabulary {
  const entries = Array.from({ length: tokenizer.tokenLimit }, (_, id) =>
    hidden.has(id) ? '' : entryOfBytes(tokenizer.bytes(id)),
  );
  const text = entries.join('');
  const characters = new SharedArrayBuffer(2 * text.length);
  const ends = new SharedArrayBuffer(4 * entries.length);
  const units = new Uint16Array(characters);
  for (let i = 0; i < text.length; i++) units[i] = text.charCodeAt(i);
  let at = 0;
  new Uint32Array(ends).set(entries.map((entry) => (at += entry.length)));
  return { characters, ends };
}
