// What a finished setup has proved: its figures and its answers. A part of the manifest.

import type { Quant } from '../models/quant.js';
import type { WeightErrors } from './requantisation.js';

export interface KnownAnswer {
  name: string;
  question: string;
  /** As text, whatever was asked. */
  answer: string;
  expected: string;
  ok: boolean;
}

/** How well a model foresees a passage of ours. */
export interface PassageFigures {
  /** Of the passage as it is read for the first time, in bits a byte of text; null where tokens don't say. */
  bitsPerByte: number;
  /** By token, of the passage read again: what a model knows that has just seen it. */
  perplexity: number;
  /** Most that it may be at this width. */
  bound: number;
  ok: boolean;
}

/** Changes with questions and bounds: models that were judged by others are judged again. */
export const CHECK_VERSION = 1;

/** What a model was asked, what came back, and what follows from it. A part of the manifest. */
export interface CheckReport {
  /** Of questions and bounds: a report of others is as good as none. */
  version: number;
  /** ISO 8601. */
  at: string;
  /** unjudged: nothing of what it said could be judged. */
  verdict: 'passed' | 'failed' | 'unjudged';
  /** Sentences about what is wrong; none where it passed. */
  reasons: string[];
  answers: KnownAnswer[];
  /** null where known answers of this very checkpoint were asked instead. */
  passage: PassageFigures | null;
  /** Sentences about what this check can't say of this model. */
  notJudged: string[];
  /** Tokens decoded one by one, tokens read, and all the time it took. */
  cost: { decodedTokens: number; readTokens: number; seconds: number };
}

export interface Receipt {
  schema: 1;
  model: string;
  repo: string;
  commit: string;
  quant: Quant;
  /** Of a GGUF model: what chose it among the repository's files, and the types of its experts. */
  file?: string;
  expertTypes?: string[];
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
  /** Absent in receipts of old, whose models nobody has judged. */
  check?: CheckReport;
  tokensPerSecond: number;
  /** Uncached reads of expert size; null when they were not measured, absent in older receipts. */
  diskBytesPerSecond?: number | null;
}
