// What a server does with its model while nobody asks for it. It begins after a silence, ends as soon as somebody wants the
// model, and begins anew after the next silence.

import type { Engine } from '../engine/types.js';
import type { ModelHost } from './model-host.js';
import type { Queue } from './queue.js';

/** Rejects when the signal fires; what it did until then is lost. Once for each model that is loaded. */
export type IdleTask = (engine: Engine, id: string, signal: AbortSignal) => Promise<void>;

/** Milliseconds without a request. */
const SILENCE_MS = 5_000;

export class IdleWork {
  readonly #task: IdleTask;
  readonly #silenceMs: number;
  readonly #done = new Set<string>();
  #parts: { host: ModelHost; queue: Queue } | null = null;
  #running: AbortController | null = null;
  #ended: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | null = null;
  #isClosed = false;

  constructor(task: IdleTask, silenceMs = SILENCE_MS) {
    this.#task = task;
    this.#silenceMs = silenceMs;
  }

  /** Of the server that it belongs to. */
  begin(host: ModelHost, queue: Queue): void {
    this.#parts = { host, queue };
    this.wait();
  }

  /** Somebody wants a model: what is under way ends at once. */
  giveWay(): void {
    this.#running?.abort(new Error('a request came'));
    this.wait();
  }

  /** The silence begins again. */
  wait(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    if (this.#isClosed) return;
    this.#timer = setTimeout(() => this.#start(), this.#silenceMs);
    this.#timer.unref();
  }

  /** Settles when nothing of it runs any more. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.giveWay();
    await this.#ended;
  }

  #start(): void {
    if (this.#parts === null || this.#running !== null || this.#isClosed) return;
    const { host, queue } = this.#parts;
    const { state } = host;
    // A model that is let go is none to load again for this.
    if (state.status !== 'ready' || state.id === null || this.#done.has(state.id)) return;
    const lease = queue.length > 0 ? null : host.borrow();
    if (lease === null) {
      this.wait();
      return;
    }
    const running = new AbortController();
    this.#running = running;
    const { id } = state;
    this.#ended = this.#task(lease.engine, id, running.signal)
      .catch(() => undefined)
      .finally(() => {
        this.#running = null;
        lease.release();
        // Whatever ended it otherwise would end it again.
        if (running.signal.aborted) this.wait();
        else this.#done.add(id);
      });
  }
}
