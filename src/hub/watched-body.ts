// A body that can't hang: silence and crawling both end it. Only the time spent waiting for the line
// counts, so a slow disk is never taken for a slow network.

import type { Readable } from 'node:stream';
import { monotonic } from '../base/host.js';
import type { HubTimeouts } from './types.js';

/** Taken off the line ahead of the reader. */
const AHEAD_BYTES = 256 << 10;

/** Yields the stream's chunks; what it throws has gone through `explain`. Ending early destroys the stream. */
export async function* watchedBody(
  stream: Readable,
  timeouts: HubTimeouts,
  explain: (error: unknown) => Error,
): AsyncGenerator<Buffer, void, void> {
  const line = new Line(stream, timeouts.idleMs);
  const window = { waitedMs: 0, bytes: 0 };
  try {
    for (;;) {
      let chunk = line.take();
      if (chunk === null) {
        const before = monotonic();
        if (!(await line.more())) return;
        window.waitedMs += monotonic() - before;
        chunk = line.take();
      }
      if (chunk === null) continue;
      window.bytes += chunk.length;
      refuseToCrawl(window, timeouts);
      yield chunk;
    }
  } catch (error) {
    throw explain(error);
  } finally {
    line.close();
  }
}

/** Chunks as they come, without a promise or a timer for each: at full speed there are thousands a second. */
class Line {
  readonly #stream: Readable;
  readonly #idleMs: number;
  readonly #chunks: Buffer[] = [];
  #bytes = 0;
  #ended = false;
  #failure: { error: unknown } | null = null;
  #wake: (() => void) | null = null;

  constructor(stream: Readable, idleMs: number) {
    this.#stream = stream;
    this.#idleMs = idleMs;
    stream.on('data', (chunk: Buffer) => {
      this.#chunks.push(chunk);
      this.#bytes += chunk.length;
      if (this.#bytes >= AHEAD_BYTES) stream.pause();
      this.#wake?.();
    });
    stream.once('end', () => {
      this.#ended = true;
      this.#wake?.();
    });
    stream.on('error', (error) => this.#fail(error));
    stream.once('close', () => this.#fail(new Error('the connection was closed')));
    // It may have ended before anybody listened.
    this.#ended = stream.readableEnded;
    if (stream.errored !== null) this.#fail(stream.errored);
    else if (stream.destroyed) this.#fail(new Error('the connection was closed'));
  }

  take(): Buffer | null {
    const chunk = this.#chunks.shift();
    if (chunk === undefined) return null;
    this.#bytes -= chunk.length;
    if (this.#bytes < AHEAD_BYTES && this.#stream.isPaused()) this.#stream.resume();
    return chunk;
  }

  /** Waits for a chunk: false at the end. Throws what broke the line. */
  async more(): Promise<boolean> {
    if (this.#chunks.length > 0) return true;
    if (!this.#ended && this.#failure === null) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(() => {
          this.#fail(new Error(`stalled: no bytes for ${this.#idleMs / 1000} s`));
          this.#stream.destroy();
        }, this.#idleMs);
        this.#wake = () => {
          clearTimeout(timer);
          this.#wake = null;
          resolve();
        };
      });
    }
    if (this.#chunks.length > 0) return true;
    if (this.#ended) return false;
    throw this.#failure?.error;
  }

  close(): void {
    this.#stream.destroy();
  }

  #fail(error: unknown): void {
    if (this.#ended) return;
    this.#failure ??= { error };
    this.#wake?.();
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
