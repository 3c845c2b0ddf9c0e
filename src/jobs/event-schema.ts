// The events of a run as a schema: what a program that reads NDJSON may rely on. docs/events.md is made of it, and real runs
// are held against it.

import * as z from 'zod';
import { QUANTS } from '../models/quant.js';

const bytes = z.number().int().nonnegative();
const text = z.string();
const time = z.iso.datetime().describe('ISO 8601');
const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const status = z.enum(['started', 'done', 'skipped', 'failed']);
const quant = z.enum(QUANTS);
const step = z.enum([
  ...(['machine', 'plan', 'engine', 'fetch', 'pack', 'finish', 'service', 'first-answer'] as const),
]);

const answer = z.object({
  name: text,
  question: text,
  answer: text.describe('as text'),
  expected: text,
  ok: z.boolean(),
});

const check = z.object({
  version: z.number().int(),
  at: time,
  verdict: z.enum(['passed', 'failed', 'unjudged']),
  reasons: z.array(text),
  answers: z.array(answer),
  passage: z
    .object({ bitsPerByte: z.number(), perplexity: z.number(), bound: z.number(), ok: z.boolean() })
    .nullable(),
  notJudged: z.array(text),
  cost: z.object({ decodedTokens: bytes, readTokens: bytes, seconds: z.number() }),
});

const plan = z.object({
  ...{ model: text, repo: text, revision: text, commit: text, quant, fingerprint: sha256 },
  ...{ directory: text, shards: bytes, layers: bytes },
  madeOf: text
    .optional()
    .describe('folder of another width of it that is here; nothing is fetched'),
  downloadBytes: bytes.describe('all that is fetched'),
  doneBytes: bytes.describe('of downloadBytes, here before this run'),
  finalBytes: bytes,
  calibrationTokens: bytes.optional(),
  expertTypes: z.array(text).optional().describe('of a GGUF model: what its experts are stored in'),
  sourceBytes: bytes.optional(),
  peakBytes: bytes.describe('most on disk at any moment'),
  freeBytes: bytes,
  seconds: z.object({ low: z.number(), high: z.number() }).nullable(),
});

const receipt = z.looseObject({
  ...{ schema: z.literal(1), model: text, repo: text, commit: text, quant },
  ...{ fingerprint: sha256, directory: text, finalBytes: bytes, contentSha256: sha256 },
  ...{ downloadedBytes: bytes, neededBytes: bytes.optional(), peakBytes: bytes },
  ...{ startedAt: time, finishedAt: time, answers: z.array(answer), check: check.optional() },
  tokensPerSecond: z.number(),
});

export const installEvent = z.discriminatedUnion('type', [
  z
    .object({ type: z.literal('step'), step, status, detail: text.optional() })
    .describe('A part of the run begins or ends'),
  z.object({ type: z.literal('plan'), plan }).describe('What will be done, in exact bytes'),
  z
    .object({
      type: z.literal('finding'),
      id: text,
      severity: z.enum(['ok', 'info', 'warn', 'fail']),
      title: text,
      hint: text.optional(),
    })
    .describe('A line of the machine check'),
  z
    .object({
      type: z.literal('build'),
      task: z.enum(['toolchain', 'configure', 'compile', 'self-test']),
      status,
      detail: text.optional(),
    })
    .describe('The engine is built on this machine'),
  z
    .object({
      type: z.literal('shard'),
      shard: text,
      step: z.enum(['fetch', 'dense', 'release']),
      status,
    })
    .describe('A file of the checkpoint'),
  z
    .object({ type: z.literal('layer'), layer: bytes, file: text, status })
    .describe('A layer file of the packed model'),
  z
    .object({
      type: z.literal('progress'),
      step: z.enum(['fetch', 'pack', 'verify']),
      item: text,
      done: bytes.describe('absolute'),
      total: bytes,
      before: bytes.optional().describe('of done, counted by the plan already'),
    })
    .describe(
      'May be dropped or sampled. Fetched so far: doneBytes of the plan and the sum over items of done - before',
    ),
  z
    .object({
      type: z.literal('limits'),
      bytesPerSecond: bytes.nullable(),
      hours: text.nullable().describe('23:00-07:00'),
    })
    .describe('What the run may take of the line from here on; null is without'),
  z
    .object({ type: z.literal('disk'), usedBytes: bytes, freeBytes: bytes })
    .describe('May be dropped or sampled'),
  z
    .object({
      type: z.literal('retry'),
      item: text,
      attempt: bytes,
      delayMs: z.number().nonnegative(),
      reason: text,
    })
    .describe('A request failed and is made again'),
  z
    .object({
      type: z.literal('waiting'),
      code: text.describe('paused, hours, or the code of an error'),
      reason: text,
      until: time.optional().describe('when a time is known'),
    })
    .describe('The run holds still'),
  z.object({ type: z.literal('resumed') }).describe('It goes on'),
  z
    .object({ type: z.literal('slept'), from: time, until: time })
    .describe('Nothing ran for a while: the machine slept'),
  z.object({ type: z.literal('answer'), answer }).describe('The model was asked'),
  z.object({ type: z.literal('notice'), message: text }).describe('A sentence for people'),
  z
    .object({ type: z.literal('finished'), receipt })
    .describe('The last event of a run that ended well'),
  z
    .object({
      type: z.literal('failed'),
      code: text,
      message: text,
      hint: text.optional(),
      resumable: z.boolean(),
    })
    .describe('The last event of a run that did not'),
]);

/** A line of NDJSON: `event` is the type. */
export const eventLine = z.looseObject({ v: z.literal(1), t: time, event: text });
