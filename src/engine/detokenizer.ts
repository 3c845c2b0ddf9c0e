// Token ids to text, one at a time. A character whose bytes are spread over several tokens comes out
// with its last byte, so no piece ever ends inside a UTF-8 sequence or a surrogate pair.

import type { Vocabulary } from './tokenizer-types.js';

export class Detokenizer {
  readonly #hidden: ReadonlySet<number>;
  // ignoreBOM keeps U+FEFF in the text instead of eating it.
  readonly #utf8 = new TextDecoder('utf-8', { ignoreBOM: true });

  /** @param shown special tokens to spell out, because a parser looks for them; others are left out */
  constructor(
    private readonly tokenizer: Vocabulary,
    shown: readonly string[] = [],
  ) {
    this.#hidden = new Set(
      tokenizer.controlTokens
        .filter((token) => token.special && !shown.includes(token.content))
        .map((token) => token.id),
    );
  }

  /** True for a token that is no part of a text. */
  hides(id: number): boolean {
    return this.#hidden.has(id);
  }

  /** The characters that are complete with this token; often none. Bytes still missing at the end are no text. */
  push(id: number): string {
    if (this.hides(id)) return '';
    return this.#utf8.decode(this.tokenizer.bytes(id), { stream: true });
  }
}
