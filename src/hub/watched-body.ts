// A body that can't hang: silence and crawling both end it. Only the time spent waiting for the line
// counts, so a slow disk is never taken for a slow network.

import { monotonic } from '../base/host.js';
import type { Readable } from 'node:stream';
import type { HubTimeouts } from './types.js';

/** Yields the stream's chunks; what it throws has gone through `explain`. Ending early destroys the stream. */
export async function* watchedBody(
  stream: Readable,
  timeouts: HubTimeouts,
  explain: (error: unknown) => Error,
): AsyncGenerator<Buffer, void, void> {
  const chunks = stream[Symbol.asyncIterator]() as AsyncIterator<Buffer, undefined>;
  const window = { waitedMs: 0, bytes: 0 };
  try {
    for (;;) {
      const before = monotonic();
      const next = await withinIdle(chunks.next(), stream, timeouts.idleMs);
      if (next.done === true) return;
      window.waitedMs += monotonic() - before;
      window.bytes += next.value.length;
      refuseToCrawl(window, timeouts);
      yield next.value;
    }
  } catch (error) {
    throw explain(error);
  } finally {
    stream.destroy();
  }
}

function refuseToCrawl(window: { waitedMs: number; bytes: number }, timeouts: HubTimeouts): void {
  if (window.waitedMs < timeouts.floorWindowMs) return;
  const rate = (window.bytes * 1000) / window.waitedMs;
  if (rate < timeouts.floorBytesPerSecond) {
    throw new Error(`stalled: ${Math.round(rate)} bytes a second is too slow to go on with`);
  }
  window.waitedMs = 0;
  window.bytes = 0;
}

function withinIdle<T>(next: Promise<T>, stream: Readable, idleMs: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(new Error(`stalled: no bytes for ${idleMs / 1000} s`));
      stream.destroy();
    }, idleMs);
    next.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
