// So many generations at a time as the model has sessions, the others in order of arrival. The queue is bounded: a client that is told
// to come back later is better off than one that waits for hours.

import { unavailable } from './api-error.js';

export interface Turn {
  /** Settles when the turn begins; rejects when the signal fires or the queue closes before. */
  readonly begun: Promise<void>;
  /** Turns before this one, now. */
  readonly ahead: number;
  /** Gives the turn back, begun or not. Calling it again does nothing. */
  end(): void;
}

interface Waiting {
  begin(): void;
  refuse(error: unknown): void;
}

export class Queue {
  readonly #waiting: Waiting[] = [];
  #running = 0;
  #closed = false;

  /** @param limit turns that may wait behind the running one */
  constructor(readonly limit: number) {}

  get running(): boolean {
    return this.#running > 0;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  get length(): number {
    return this.#waiting.length + this.#running;
  }

  /** Takes a place; throws a 503 ApiError at once when there is none. @param atOnce turns that may run together */
  enter(signal: AbortSignal, atOnce = 1): Turn {
    if (this.#closed) throw unavailable('the server is stopping', 'server_stopping');
    const isFull = this.#running >= atOnce || this.#waiting.length > 0;
    if (isFull && this.#waiting.length >= this.limit) {
      throw unavailable(`${this.length} requests are being answered or waiting`, 'queue_full');
    }
    const { promise, resolve, reject } = settleable();
    const waiting: Waiting = { begin: resolve, refuse: reject };
    const leave = (): void => {
      const at = this.#waiting.indexOf(waiting);
      if (at >= 0) this.#waiting.splice(at, 1);
    };
    const onAbort = (): void => {
      leave();
      reject(signal.reason);
    };
    let ended = false;
    const end = (): void => {
      if (ended) return;
      ended = true;
      signal.removeEventListener('abort', onAbort);
      if (this.#waiting.includes(waiting)) return leave();
      if (begun) this.#next();
    };
    let begun = false;
    waiting.begin = () => {
      begun = true;
      resolve();
    };
    if (signal.aborted) reject(signal.reason);
    else if (isFull) {
      this.#waiting.push(waiting);
      signal.addEventListener('abort', onAbort, { once: true });
    } else {
      this.#running++;
      waiting.begin();
    }
    const place = (): number => this.#waiting.indexOf(waiting) + 1;
    return {
      begun: promise,
      end,
      get ahead() {
        return place();
      },
    };
  }

  /** Refuses whoever waits and whoever comes; the running turn ends by itself. */
  close(): void {
    this.#closed = true;
    const error = unavailable('the server is stopping', 'server_stopping');
    for (const waiting of this.#waiting.splice(0)) waiting.refuse(error);
  }

  #next(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#running--;
    else next.begin();
  }
}

function settleable(): {
  promise: Promise<void>;
  resolve: () => void;
  reject: (reason: unknown) => void;
} {
  let resolve!: () => void;
  let reject!: (reason: unknown) => void;
  const promise = new Promise<void>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  // A turn may be given back before anyone awaits it.
  promise.catch(() => undefined);
  return { promise, resolve, reject };
}
