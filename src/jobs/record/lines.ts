// What a setup's record may say: how its night went, one JSON object a line. A record informs people; nothing
// is decided by it, and what cannot be read of it is left out.

import * as z from 'zod';

/** A longer record.ndjson loses its oldest runs when the next begins, but for their sums; no run adds more. */
export const RECORD_LIMIT = 512 * 1024;

/** Milliseconds since the epoch. */
const at = z.number().nonnegative();
const bytes = z.number().nonnegative();

export const recordLine = z.discriminatedUnion('do', [
  z.object({ do: z.literal('begin'), at, pid: z.number().int() }),
  /** Bytes received since the run began, wasted ones included; most bytes on disk. */
  z.object({ do: z.literal('sample'), at, received: bytes, peak: bytes }),
  z.object({ do: z.literal('wait'), at, until: at, reason: z.string().max(500) }),
  z.object({ do: z.literal('slept'), at, until: at }),
  z.object({
    do: z.literal('end'),
    at,
    received: bytes,
    peak: bytes,
    outcome: z.string().max(100),
  }),
  /** Runs that were cut off the beginning of a record grown too long. */
  z.object({ do: z.literal('earlier'), at, received: bytes, peak: bytes, runs: z.number().int() }),
]);

export type RecordLine = z.infer<typeof recordLine>;

/** Lines that can't be read are skipped: the torn last one of a killed run, or a newer program's. */
export function parseRecord(text: string): RecordLine[] {
  return text.split('\n').flatMap((line) => {
    if (line === '') return [];
    try {
      const parsed = recordLine.safeParse(JSON.parse(line));
      return parsed.success ? [parsed.data] : [];
    } catch {
      // Not JSON: torn.
      return [];
    }
  });
}
