// What a setup run tells the outside. Plain JSON, so NDJSON output is one stringify. `progress` and
// `disk` carry absolute numbers and are the only events that may be dropped or sampled.

import type { ErrorCode } from '../base/errors.js';
import type { Quant } from '../models/quant.js';

export type StepId =
  'machine' | 'plan' | 'engine' | 'fetch' | 'pack' | 'finish' | 'service' | 'first-answer';

export type Status = 'started' | 'done' | 'skipped' | 'failed';

export { QUANTS, type Quant } from '../models/quant.js';

/** The contract shown before the user says yes. Bytes are exact, summed from the hub's listing and the shard headers. */
export interface PlanSummary {
  model: string;
  repo: string;
  revision: string;
  commit: string;
  quant: Quant;
  /** sha256 of the plan: what a journal is bound to. */
  fingerprint: string;
  directory: string;
  shards: number;
  layers: number;
  downloadBytes: number;
  /** Of downloadBytes, already verified or packed on disk. */
  doneBytes: number;
  finalBytes: number;
  /** That a calibration saw which errors are weighed by; absent without one. */
  calibrationTokens?: number;
  /** Of finalBytes, most that a kept checkpoint takes; absent where none is kept. */
  sourceBytes?: number;
  peakBytes: number;
  freeBytes: number;
  /** Seconds, low and high; null when nothing was measured to tell from. */
  seconds: { low: number; high: number } | null;
}

export interface KnownAnswer {
  name: string;
  question: string;
  answer: string;
  expected: string;
  ok: boolean;
}

/** How far requantised weights are from their source. */
export interface WeightErrors {
  /** Root of squared error over squared deviation from the mean. */
  relativeRmse: number;
  /** What 2-bit codes over the range of each group would leave on the same values. */
  rangeRelativeRmse: number;
}

export interface Receipt {
  schema: 1;
  model: string;
  repo: string;
  commit: string;
  quant: Quant;
  fingerprint: string;
  directory: string;
  finalBytes: number;
  /** sha256 over the sorted "path sha256" lines of all packed files: equal on two machines iff the models are. */
  contentSha256: string;
  /** By all runs of this setup, what came twice included. */
  downloadedBytes: number;
  /** What the model is made of, as the hub holds it; absent in receipts of old. */
  neededBytes?: number;
  /** Most bytes in its folder in any run. */
  peakBytes: number;
  /** ISO 8601. */
  startedAt: string;
  finishedAt: string;
  /** Of the weights that were requantised; null where none were or nothing is known, absent in older receipts. */
  weightErrors?: WeightErrors | null;
  answers: KnownAnswer[];
  tokensPerSecond: number;
  /** Uncached reads of expert size; null when they were not measured, absent in older receipts. */
  diskBytesPerSecond?: number | null;
}

export type InstallEvent =
  | { type: 'step'; step: StepId; status: Status; detail?: string }
  | { type: 'plan'; plan: PlanSummary }
  /** A line of the machine check. */
  | {
      type: 'finding';
      id: string;
      severity: 'ok' | 'info' | 'warn' | 'fail';
      title: string;
      hint?: string;
    }
  /** The engine build's listr2 tasks. */
  | {
      type: 'build';
      task: 'toolchain' | 'configure' | 'compile' | 'self-test';
      status: Status;
      detail?: string;
    }
  | { type: 'shard'; shard: string; step: 'fetch' | 'dense' | 'release'; status: Status }
  | { type: 'layer'; layer: number; file: string; status: Status }
  | {
      type: 'progress';
      step: 'fetch' | 'pack' | 'verify';
      item: string;
      done: number;
      total: number;
    }
  | { type: 'disk'; usedBytes: number; freeBytes: number }
  | { type: 'retry'; item: string; attempt: number; delayMs: number; reason: string }
  /** The run holds still: disk full, offline, paused by the user, outside its hours. `until` is ISO 8601 when a time is known. */
  | { type: 'waiting'; code: ErrorCode | 'paused' | 'hours'; reason: string; until?: string }
  | { type: 'resumed' }
  /** Nothing ran for a while: the machine slept. ISO 8601. */
  | { type: 'slept'; from: string; until: string }
  | { type: 'answer'; answer: KnownAnswer }
  | { type: 'notice'; message: string }
  | { type: 'finished'; receipt: Receipt }
  | { type: 'failed'; code: ErrorCode; message: string; hint?: string; resumable: boolean };

export type Emit = (event: InstallEvent) => void;
