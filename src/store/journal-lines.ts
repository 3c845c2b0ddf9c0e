// What a journal may say. One JSON object a line: first the header, then completed transitions, each
// written only when every byte it speaks of was durable. Unknown fields are kept out by the schema,
// unknown steps are an error: a newer flashmoe wrote them.

import * as z from 'zod';
import { QUANTS } from '../models/quant.js';
import { requantised } from './requantisation.js';

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
/** Of the blocks of a file; see NativeAddon.hashFile. */
const chain = z.array(sha256).optional();
const hashState = z.string().regex(/^[0-9a-f]{208}$/);
const bytes = z.number().int().nonnegative();
const name = z.string().min(1).max(1024);

/** What the lines below are about; two runs with different headers must never share a folder. */
export const journalHeader = z.object({
  schema: z.literal(1),
  repo: name,
  revision: name,
  commit: z.string().regex(/^[0-9a-f]{40}$/),
  /** Fingerprint of the pack plan. */
  plan: sha256,
  quant: z.enum(QUANTS),
  /** ISO 8601; of the first run. */
  startedAt: z.iso.datetime(),
});

export const journalEntry = z.discriminatedUnion('step', [
  /** How bytes come from here on: by ranges along the write plan of this fingerprint, or as whole shards. */
  z.object({
    step: z.literal('road'),
    road: z.enum(['ranges', 'shards']),
    tape: sha256.nullable(),
  }),
  /**
   * Everything before position `at` of the write plan is durable; `hash` is the state of the shard's sha256 there. `errors`
   * are of the projections that were requantised since the line before, the last one perhaps not to its end.
   */
  z.object({
    ...{ step: z.literal('placed'), at: bytes, item: bytes, hash: hashState },
    errors: z.array(requantised).optional(),
  }),
  /** All of the shard is placed, and its sha256 is the hub's. */
  z.object({ step: z.literal('sealed'), shard: name, bytes, sha256 }),
  /** All of it came and its sha256 was this instead: it is fetched once more, and no third time. */
  z.object({ step: z.literal('mismatch'), shard: name, sha256 }),
  /** The whole shard lies in download/ and its sha256 is the hub's. */
  z.object({ step: z.literal('verified'), shard: name, bytes, sha256 }),
  /** The shard's dense tensors are in the partial dense file. */
  z.object({ step: z.literal('dense'), shard: name, bytes }),
  /** The layer file has its final name. */
  z.object({
    ...{ step: z.literal('packed'), layer: bytes, file: name, bytes, sha256, chain },
    errors: z.array(requantised).optional(),
  }),
  /** Nothing needs the shard any more; written before it is deleted. */
  z.object({ step: z.literal('released'), shard: name }),
  /** The dense file has its final name. */
  z.object({ step: z.literal('dense-finished'), file: name, bytes, sha256, chain }),
  /** A tokenizer, template or config file, with its final name. */
  z.object({ step: z.literal('copied'), file: name, bytes, sha256 }),
  /** A later check found its content changed, so earlier lines about it no longer hold. */
  z.object({ step: z.literal('damaged'), file: name }),
  /** manifest.json is written: the model is whole. */
  z.object({ step: z.literal('finished'), at: z.iso.datetime() }),
]);

export type JournalHeader = z.infer<typeof journalHeader>;
export type JournalEntry = z.infer<typeof journalEntry>;
