// What the engine needs of a tokenizer, whatever file it comes from.

export interface ControlToken {
  id: number;
  content: string;
  /** Not meant to be read: left out of a model's text unless a parser asks for it. */
  special: boolean;
}

/** What ids mean, for those who only read them. */
export interface Vocabulary {
  readonly controlTokens: readonly ControlToken[];
  /** UTF-8 of one token, which may be part of a sequence; empty for an id that names no token. */
  bytes(id: number): Uint8Array;
  /** Largest id + 1; rows of the output matrix from here on are padding. */
  readonly tokenLimit: number;
}

export interface Tokenizer extends Vocabulary {
  /** Ids of plain text. Never a control token's id, whatever the text holds. */
  encodeText(text: string): number[];
}
