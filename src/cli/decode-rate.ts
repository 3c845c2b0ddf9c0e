// Speed as run and serve tell it.

import type { Timings, Usage } from '../engine/types.js';

/** Tokens a second while decoding; an answer's first token is made by reading its prompt, so it doesn't count. */
export function decodeRate({ completionTokens }: Usage, { decodeSeconds }: Timings): number {
  return decodeSeconds > 0 ? Math.max(0, completionTokens - 1) / decodeSeconds : 0;
}
