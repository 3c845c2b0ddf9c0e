// What every reader of a written tool call gives.

export type CallPart =
  /** The first part of a call. `id` where the form itself has one. */
  | { type: 'begin'; name: string; id: string | null }
  /** The next characters of the arguments' JSON. */
  | { type: 'arguments'; json: string };

/** Reads one call, from behind its opening tag on. */
export interface CallReader {
  push(text: string): CallPart[];
  /** No text follows. @param cut at a limit: then an open call stays unfinished */
  end(cut: boolean): CallPart[];
  /** What follows the closing tag; null while the call is open. */
  readonly rest: string | null;
  /** Everything read, opening tag excluded, when it turned out to be no call and nothing was passed on. */
  readonly refused: string | null;
}
