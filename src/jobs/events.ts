// What a setup run tells the outside. Plain JSON, so NDJSON output is one stringify. `progress` and
// `disk` carry absolute numbers and are the only events that may be dropped or sampled.

import type { ErrorCode } from '../base/errors.js';
import type { Quant } from '../models/quant.js';
import type { KnownAnswer, Receipt } from '../store/receipt.js';

export type StepId =
  'machine' | 'plan' | 'engine' | 'fetch' | 'pack' | 'finish' | 'service' | 'first-answer';

export type Status = 'started' | 'done' | 'skipped' | 'failed';

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
  /** Folder of the same model as published that it is made of; nothing is fetched then. Absent: of the repository. */
  madeOf?: string;
  downloadBytes: number;
  /** Of downloadBytes, already verified or packed on disk. */
  doneBytes: number;
  finalBytes: number;
  /** That a calibration saw which errors are weighed by; absent without one. */
  calibrationTokens?: number;
  /** Of a GGUF model: the types of its experts as GGUF calls them, that with the most bytes first. */
  expertTypes?: string[];
  /** Of finalBytes, most that a kept checkpoint takes; absent where none is kept. */
  sourceBytes?: number;
  peakBytes: number;
  /** Free space that a setup demands before it begins: what it has yet to write, and what has to stay free. */
  neededBytes?: number;
  freeBytes: number;
  /** Seconds, low and high; null when nothing was measured to tell from. */
  seconds: { low: number; high: number } | null;
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
      /** Bytes, absolute. */
      done: number;
      total: number;
      /** Of `done`, there before this run began: the plan's `doneBytes` has counted them. Absent: none. */
      before?: number;
    }
  /** What the setup may take of the line from here on; null is without. Hours as `23:00-07:00`. */
  | { type: 'limits'; bytesPerSecond: number | null; hours: string | null }
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
