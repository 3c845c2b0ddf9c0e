// Many ranges at once, over as many connections as pay off. Bytes are handed on in small batches as they
// arrive and count as fetched when the sink has them; a connection that breaks off, stalls, or is far slower
// than the others is replaced, and its range goes on where it was.

import { setMaxListeners } from 'node:events';
import { FlashmoeError } from '../base/errors.js';
import { monotonic } from '../base/host.js';
import { firstCount, MOST_CONNECTIONS, nextCount } from './connections.js';
import { RangeIgnored } from './file-source.js';
import { interruption, Transient, withRetries, type RetryPolicy } from './retry.js';
import type { ByteSource, HubTask } from './types.js';

/** Bytes [start, end) of a file. `at` is for the sink alone. */
export interface WantedRange {
  file: string;
  source: ByteSource;
  start: number;
  end: number;
  at: number;
}

export interface RangeSink {
  /** Resolves when the bytes are kept; may wait, and the line waits with it. */
  put(at: number, chunks: Uint8Array[]): Promise<void>;
  /** Told of every byte of content that arrives, whatever becomes of it. */
  arrived(bytes: number): void;
}

/** This server sends whole files only. */
export class RangesUnsupported extends FlashmoeError {}

/**
 * What goes to the sink at once, and how long the first of its bytes may wait for the rest: a process that is
 * killed has fetched in vain what the sink doesn't have.
 */
const BATCH_BYTES = 256 << 10;
const BATCH_MS = 10;
const STRETCH_MS = 2_000;
/** A connection is far slower when it does less than a tenth of the others' median for this long. */
const SLOW_MS = 10_000;
const SLOW_SHARE = 0.1;
/** Ranges whose rates make the median: the last that ended. */
const RECENT = 16;

/**
 * Takes ranges off `wanted` until it ends. Resolves when the sink has all of them. Throws RangesUnsupported,
 * what the sink throws, what waiting can't help, and ERR_INTERRUPTED; every connection is closed then.
 */
export async function fetchRanges(
  wanted: Iterator<WantedRange>,
  sink: RangeSink,
  policy: RetryPolicy,
  task: HubTask,
): Promise<void> {
  await new Fetcher(wanted, sink, policy, task).run();
}

/** One range under way. */
class Active {
  bytes = 0;
  readonly slow = new AbortController();
  #since = monotonic();
  #blockedAt: number | null = null;

  begin(): void {
    this.#since = monotonic();
  }

  /** Waiting for the sink is no fault of the line. */
  async blocked(until: Promise<void>): Promise<void> {
    this.#blockedAt = monotonic();
    try {
      await until;
    } finally {
      this.#since += monotonic() - this.#blockedAt;
      this.#blockedAt = null;
    }
  }

  /** Milliseconds in which the line had its chance. */
  activeMs(now: number): number {
    return (this.#blockedAt ?? now) - this.#since;
  }

  /** Bytes a millisecond. */
  rate(now: number): number {
    return this.bytes / Math.max(1, this.activeMs(now));
  }
}

class Fetcher {
  readonly #wanted: Iterator<WantedRange>;
  readonly #sink: RangeSink;
  readonly #policy: RetryPolicy;
  readonly #task: HubTask;
  readonly #stop = new AbortController();
  readonly #active = new Set<Active>();
  readonly #running = new Set<Promise<void>>();
  /** Bytes a millisecond of the ranges that ended last. */
  readonly #recent: number[] = [];
  #connections = firstCount(MOST_CONNECTIONS);
  #failures = 0;
  #stretch = { since: monotonic(), bytes: 0 };
  #error: { error: unknown } | null = null;

  constructor(wanted: Iterator<WantedRange>, sink: RangeSink, policy: RetryPolicy, task: HubTask) {
    this.#wanted = wanted;
    this.#sink = sink;
    this.#policy = policy;
    const signal = AbortSignal.any([task.signal, this.#stop.signal]);
    // Every range under way listens to it, and Node takes more than ten for a leak.
    setMaxListeners(0, signal);
    const emit: HubTask['emit'] = (event) => {
      if (event.type === 'retry') this.#failures += 1;
      task.emit(event);
    };
    this.#task = { emit, signal };
  }

  async run(): Promise<void> {
    const timer = setInterval(() => this.#look(), 500);
    try {
      let ended = false;
      for (;;) {
        while (!ended && this.#error === null && this.#running.size < this.#connections.count) {
          const next = this.#wanted.next();
          if (next.done === true) ended = true;
          else this.#begin(next.value);
        }
        if (this.#running.size === 0) break;
        await Promise.race(this.#running);
      }
    } finally {
      clearInterval(timer);
    }
    if (this.#error !== null) throw this.#error.error;
  }

  #begin(range: WantedRange): void {
    const one = this.#fetch(range).catch((error: unknown) => {
      this.#error ??= { error };
      this.#stop.abort();
    });
    const running = one.finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  async #fetch({ file, source, start, end, at }: WantedRange): Promise<void> {
    if (this.#task.signal.aborted) throw interruption(this.#task.signal, file);
    let kept = 0;
    let ignored = 0;
    await withRetries(file, this.#policy, this.#task, async (progressed) => {
      if (start + kept === end) return;
      const active = new Active();
      const signal = AbortSignal.any([this.#task.signal, active.slow.signal]);
      const put: RangeSink['put'] = (to, chunks) =>
        unlessAborted(this.#sink.put(to, chunks), this.#task.signal);
      const batch = new Batch(put, at + kept, (bytes) => {
        kept += bytes;
        progressed();
      });
      try {
        const from = start + kept;
        const body = await source.open({ start: from, end }, { ...this.#task, signal });
        // From the answer on: a server that lets everybody wait is no slow line.
        active.begin();
        this.#active.add(active);
        for await (const chunk of body) {
          active.bytes += chunk.length;
          this.#stretch.bytes += chunk.length;
          this.#sink.arrived(chunk.length);
          const room = batch.add(chunk);
          if (room !== null) await active.blocked(room);
        }
        this.#recent.push(active.rate(monotonic()));
        if (this.#recent.length > RECENT) this.#recent.shift();
      } catch (error) {
        if (error instanceof RangeIgnored && (ignored += 1) === 2) throw unsupported(error.failure);
        const isSlow = active.slow.signal.aborted && !this.#task.signal.aborted;
        throw isSlow ? tooSlow(file) : error;
      } finally {
        this.#active.delete(active);
        // Whatever ended the body, what came before is good.
        await batch.end();
      }
    });
  }

  /** Twice a second: is a connection far behind, and would another number of them be better? */
  #look(): void {
    const now = monotonic();
    // At a good rate a range is over long before SLOW_MS, so what the slow one is held against are those that ended.
    const rates = [...this.#recent];
    const old = [...this.#active].filter((active) => active.activeMs(now) > SLOW_MS);
    for (const active of old) rates.push(active.rate(now));
    const median = rates.sort((a, b) => a - b)[rates.length >> 1] ?? 0;
    for (const active of old) {
      if (rates.length > 2 && active.rate(now) < median * SLOW_SHARE) active.slow.abort();
    }
    const { since, bytes } = this.#stretch;
    if (now - since < STRETCH_MS) return;
    const stretch = { rate: bytes / (now - since), failures: this.#failures };
    this.#connections = nextCount(this.#connections, stretch, MOST_CONNECTIONS);
    this.#stretch = { since: now, bytes: 0 };
    this.#failures = 0;
  }
}

/** Chunks of one body on their way to the sink: one batch being kept while the next fills. */
class Batch {
  #chunks: Buffer[] = [];
  #bytes = 0;
  #timer: NodeJS.Timeout | null = null;
  #at: number;
  #keeping: Promise<void> | null = null;
  #failure: { error: unknown } | null = null;

  constructor(
    readonly put: RangeSink['put'],
    at: number,
    readonly kept: (bytes: number) => void,
  ) {
    this.#at = at;
  }

  /** Null while there is room for more at once. */
  add(chunk: Buffer): Promise<void> | null {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    if (this.#bytes >= BATCH_BYTES) return this.#flush();
    // What goes wrong is kept for the next that adds or ends.
    this.#timer ??= setTimeout(() => void this.#flush().catch(() => undefined), BATCH_MS);
    return null;
  }

  async end(): Promise<void> {
    await this.#flush();
    await this.#keeping;
    if (this.#failure !== null) throw this.#failure.error;
  }

  async #flush(): Promise<void> {
    await this.#keeping;
    if (this.#failure !== null) throw this.#failure.error;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    if (this.#bytes === 0) return;
    const [at, bytes] = [this.#at, this.#bytes];
    this.#keeping = this.put(at, this.#chunks).then(
      () => this.kept(bytes),
      (error: unknown) => {
        this.#failure = { error };
      },
    );
    this.#at += bytes;
    this.#chunks = [];
    this.#bytes = 0;
  }
}

/** A sink may make one range wait for another; when that one has ended, nobody waits. */
function unlessAborted(work: Promise<void>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason as Error);
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}

function tooSlow(file: string): Transient {
  const failure = new FlashmoeError(
    'ERR_NETWORK',
    `${file}: a connection far slower than the others was replaced`,
    { subject: file },
  );
  return new Transient(failure, { waitMs: null });
}

function unsupported({ message, subject }: FlashmoeError): RangesUnsupported {
  return new RangesUnsupported('ERR_RANGE', message, { subject });
}
