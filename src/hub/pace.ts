// One rate for all connections of a client, changeable while they run. A bucket that fills at the rate and
// may be overdrawn: a chunk is let through first and paid for by those that come after it.

import { setTimeout as sleep } from 'node:timers/promises';
import { monotonic } from '../base/host.js';
import type { Pace } from './types.js';

/** What an idle line may save up, in seconds of the rate. */
const BURST_SECONDS = 0.25;
/** Nobody sleeps longer than this without looking again. */
const LONGEST_SLEEP_MS = 1_000;

/**
 * Bytes that may pass by now. Pure: times are milliseconds from any start, given by the caller. `reserve`
 * hands out places in one line, so that a change of the rate holds for those who wait already.
 */
export class TokenBucket {
  #rate: number | null;
  /** All bytes ever asked for: the next one's place. */
  #asked = 0;
  /** Places up to here may pass. */
  #passed = 0;
  #at: number;

  /** `rate` in bytes a second; null lets everything through. */
  constructor(rate: number | null, now: number) {
    this.#rate = rate;
    this.#at = now;
  }

  get rate(): number | null {
    return this.#rate;
  }

  setRate(rate: number | null, now: number): void {
    this.#fill(now);
    this.#rate = rate;
  }

  /** The place of `bytes` in the line. */
  reserve(bytes: number, now: number): number {
    this.#fill(now);
    const place = this.#asked;
    this.#asked += bytes;
    return place;
  }

  /** Milliseconds until a place may pass; 0 when it may. */
  waitMs(place: number, now: number): number {
    this.#fill(now);
    if (this.#rate === null || place <= this.#passed) return 0;
    return ((place - this.#passed) * 1000) / this.#rate;
  }

  #fill(now: number): void {
    const seconds = Math.max(0, now - this.#at) / 1000;
    this.#at = now;
    if (this.#rate === null) {
      this.#passed = this.#asked;
      return;
    }
    const most = this.#asked + this.#rate * BURST_SECONDS;
    this.#passed = Math.max(this.#passed, Math.min(most, this.#passed + seconds * this.#rate));
  }
}

/** A rate that several transfers share, and a count of what passed. */
export class SharedPace implements Pace {
  readonly #bucket: TokenBucket;
  readonly #changed = new Set<() => void>();
  #received = 0;

  constructor(bytesPerSecond: number | null = null) {
    this.#bucket = new TokenBucket(bytesPerSecond, monotonic());
  }

  /** Bytes a second; null without a limit. */
  get rate(): number | null {
    return this.#bucket.rate;
  }

  /** Bytes of all bodies so far, wasted ones included. */
  get received(): number {
    return this.#received;
  }

  /** PauseReasons at once, also for those who wait. */
  setRate(bytesPerSecond: number | null): void {
    this.#bucket.setRate(bytesPerSecond, monotonic());
    for (const wake of this.#changed) wake();
  }

  take(bytes: number, signal: AbortSignal): Promise<void> | null {
    this.#received += bytes;
    const now = monotonic();
    const place = this.#bucket.reserve(bytes, now);
    return this.#bucket.waitMs(place, now) === 0 ? null : this.#wait(place, signal);
  }

  async #wait(place: number, signal: AbortSignal): Promise<void> {
    for (;;) {
      signal.throwIfAborted();
      const waitMs = this.#bucket.waitMs(place, monotonic());
      if (waitMs === 0) return;
      const woken = new AbortController();
      const wake = (): void => woken.abort();
      this.#changed.add(wake);
      try {
        await sleep(Math.min(waitMs, LONGEST_SLEEP_MS), undefined, {
          signal: AbortSignal.any([signal, woken.signal]),
        });
      } catch (error) {
        if (!woken.signal.aborted && !signal.aborted) throw error;
      } finally {
        this.#changed.delete(wake);
      }
    }
  }
}

/** A body's chunks at that pace. */
export async function* paced(
  body: AsyncGenerator<Buffer, void, void>,
  pace: Pace,
  signal: AbortSignal,
): AsyncGenerator<Buffer, void, void> {
  for await (const chunk of body) {
    const turn = pace.take(chunk.length, signal);
    if (turn !== null) await turn;
    yield chunk;
  }
}
