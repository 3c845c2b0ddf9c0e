// The one retry layer, over p-retry. Server and line decide how long to wait, so the wait is ours;
// p-retry owns the loop, what is final, and the abort.

import { setTimeout as sleep } from 'node:timers/promises';
import pRetry from 'p-retry';
import { FlashmoeError } from '../base/errors.js';
import type { HubTask } from './types.js';

export interface RetryPolicy {
  /** Failures in a row without progress before giving up; Infinity waits for as long as the signal allows. */
  attempts: number;
  /** First delay in milliseconds; doubles with each failure in a row, up to `capMs`, with jitter. */
  baseMs: number;
  capMs: number;
}

/** For listings, small files and headers. */
export const METADATA_RETRY: RetryPolicy = { attempts: 5, baseMs: 500, capMs: 8_000 };
/** For downloads: patient, as only the user's signal or a final answer ends a night's work. */
export const DOWNLOAD_RETRY: RetryPolicy = { attempts: Infinity, baseMs: 1_000, capMs: 60_000 };

/** A failure that time may heal. `failure` is what is thrown when patience ends. */
export class Transient extends Error {
  constructor(
    readonly failure: FlashmoeError,
    readonly advice: {
      /** How often, without progress in between, a failure of this code is tried again; default: the policy's. */
      retries?: number;
      /** The server's own word on when to come back, in milliseconds; null: come back at once. */
      waitMs?: number | null;
    } = {},
  ) {
    super(failure.message, { cause: failure });
  }
}

/**
 * Runs `attempt` until it succeeds, fails for good, or patience ends. `attempt` calls `progressed` when
 * it got somewhere (bytes on disk): that makes the next failure the first in a row again.
 * Emits one `retry` event a wait. Throws FlashmoeError; ERR_INTERRUPTED within milliseconds of an abort.
 */
export async function withRetries<T>(
  file: string,
  policy: RetryPolicy,
  task: HubTask,
  attempt: (progressed: () => void) => Promise<T>,
): Promise<T> {
  /** Failures with a limit of their own, by code. */
  const seen = new Map<string, number>();
  let inARow = 0;
  const progressed = () => {
    inARow = 0;
    seen.clear();
  };
  try {
    return await pRetry(() => attempt(progressed), {
      retries: Infinity,
      minTimeout: 0,
      factor: 1,
      signal: task.signal,
      shouldRetry: ({ error }) => error instanceof Transient,
      onFailedAttempt: async ({ error }) => {
        if (!(error instanceof Transient) || task.signal.aborted) return;
        inARow += 1;
        const { retries } = error.advice;
        if (inARow >= policy.attempts) throw error.failure;
        if (retries !== undefined) {
          const doubts = (seen.get(error.failure.code) ?? 0) + 1;
          seen.set(error.failure.code, doubts);
          if (doubts > retries) throw error.failure;
        }
        const delayMs = delayFor(error, inARow, policy);
        task.emit({ type: 'retry', file, attempt: inARow, delayMs, reason: error.failure.message });
        await sleep(delayMs, undefined, { signal: task.signal });
      },
    });
  } catch (error) {
    if (task.signal.aborted) throw interruption(task.signal, file);
    throw error;
  }
}

/** The reason an abort gives, when it is one of ours; else ERR_INTERRUPTED. */
export function interruption(signal: AbortSignal, file: string): FlashmoeError {
  if (signal.reason instanceof FlashmoeError) return signal.reason;
  return new FlashmoeError('ERR_INTERRUPTED', `${file}: interrupted`, { resumable: true });
}

function delayFor(error: Transient, inARow: number, policy: RetryPolicy): number {
  const { waitMs } = error.advice;
  if (waitMs === null) return 0;
  if (waitMs !== undefined) return waitMs;
  const doubled = Math.min(policy.capMs, policy.baseMs * 2 ** Math.min(inARow - 1, 30));
  return Math.round(doubled * (0.5 + Math.random() / 2));
}
