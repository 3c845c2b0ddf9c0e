// What a model's text is taken apart into.

export type ParsedOutput =
  | { type: 'text'; channel: 'content' | 'reasoning'; text: string }
  | { type: 'call-begin'; id: string; name: string }
  /** The pieces of one call are, in order, the JSON of its arguments. */
  | { type: 'call-arguments'; json: string }
  | { type: 'call-end' };

/** What takes a model's text apart while it arrives. */
export interface Parser {
  /** Inside the thinking part. */
  readonly inReasoning: boolean;
  push(text: string): ParsedOutput[];
  /** @param cut the output ended at a limit, not by the model: then an open call stays unfinished */
  end(cut: boolean): ParsedOutput[];
}
