// What a finished setup has proved: its figures and its answers. A part of the manifest.

import type { Quant } from '../models/quant.js';
import type { WeightErrors } from './requantisation.js';

export interface KnownAnswer {
  name: string;
  question: string;
  answer: string;
  expected: string;
  ok: boolean;
}

export interface Receipt {
  schema: 1;
  model: string;
  repo: string;
  commit: string;
  quant: Quant;
  fingerprint: string;
  /** Files of the model that the user named; absent where all are from the repository. */
  userFiles?: { path: string; sha256: string; option: string }[];
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
