// What holds a run from outside: pause and resume, from a key or another process; the hours of the day; a sleep
// of the machine, after which every connection is a corpse. A gate that closes stops downloads at once (their
// bytes are kept) and packing after the step at hand.

import { FlashmoeError } from '../base/errors.js';
import type { Host } from '../base/host.js';
import type { PauseReasons } from './pause-reasons.js';
import { formatHours, isOpen, nextChange } from '../base/hours.js';
import type { Limits } from './limits.js';

export class Controls {
  #paused = false;
  readonly #listeners = new Set<() => void>();

  get paused(): boolean {
    return this.#paused;
  }

  pause(): void {
    this.#set(true);
  }

  resume(): void {
    this.#set(false);
  }

  /** Returns what ends the subscription. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #set(paused: boolean): void {
    if (paused === this.#paused) return;
    this.#paused = paused;
    for (const listener of this.#listeners) listener();
  }
}

/** The clock is looked at as often as this: it may be set, and a timer does not count a sleep. */
const LOOK_MS = 10_000;

/** What work sees of it all: it passes the gate before each step, and drops transfers when it closes. */
export class Gate {
  readonly #controls: Controls;
  readonly #limits: Limits;
  readonly #pauseReasons: PauseReasons;
  readonly #now: () => number;
  readonly #subscriptions: (() => void)[];
  readonly #waiting = new Set<() => void>();
  #closing = new AbortController();
  #timer: NodeJS.Timeout | null = null;

  constructor(
    controls: Controls,
    pauseReasons: PauseReasons,
    limits: Limits,
    host: Pick<Host, 'now'>,
  ) {
    this.#controls = controls;
    this.#limits = limits;
    this.#pauseReasons = pauseReasons;
    this.#now = () => host.now();
    const look = (): void => this.#look();
    this.#subscriptions = [controls.onChange(look), limits.onChange(look)];
    this.#look();
  }

  /** Aborts when the gate closes, and when connections must be made anew; after it a new one. */
  get signal(): AbortSignal {
    return this.#closing.signal;
  }

  /** Resolves at once while open, else when it opens; rejects with the signal's reason on abort. */
  async pass(signal: AbortSignal): Promise<void> {
    this.#look();
    while (!this.#isOpen()) {
      await new Promise<void>((resolve, reject) => {
        const settle = (): void => {
          this.#waiting.delete(settle);
          signal.removeEventListener('abort', settle);
          if (signal.aborted) reject(signal.reason as Error);
          else resolve();
        };
        this.#waiting.add(settle);
        signal.addEventListener('abort', settle);
        if (signal.aborted) settle();
      });
    }
  }

  /** Drops every transfer under way; each goes on over a connection of its own. */
  reconnect(why: string): void {
    if (!this.#isOpen()) return;
    const before = this.#closing;
    this.#closing = new AbortController();
    before.abort(new FlashmoeError('ERR_INTERRUPTED', why, { resumable: true }));
  }

  close(): void {
    for (const unsubscribe of this.#subscriptions) unsubscribe();
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#pauseReasons.release('pause');
    this.#pauseReasons.release('hours');
  }

  #isOpen(): boolean {
    const { hours } = this.#limits.values;
    return !this.#controls.paused && (hours === null || isOpen(hours, this.#now()));
  }

  #look(): void {
    const { hours } = this.#limits.values;
    if (this.#controls.paused)
      this.#pauseReasons.hold('pause', { code: 'paused', reason: 'paused' });
    else this.#pauseReasons.release('pause');
    if (hours !== null && !isOpen(hours, this.#now())) {
      const until = new Date(nextChange(hours, this.#now())).toISOString();
      const reason = `outside ${formatHours(hours)}`;
      this.#pauseReasons.hold('hours', { code: 'hours', reason, until });
    } else {
      this.#pauseReasons.release('hours');
    }
    if (this.#isOpen()) {
      if (this.#closing.signal.aborted) this.#closing = new AbortController();
      for (const settle of [...this.#waiting]) settle();
    } else {
      this.#closing.abort(CLOSED);
    }
    this.#schedule(hours === null ? null : nextChange(hours, this.#now()) - this.#now());
  }

  /** Runs while the gate is shut, too: nothing else would keep the process alive then. */
  #schedule(changeMs: number | null): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    if (changeMs === null && this.#isOpen()) return;
    const delayMs = Math.min(LOOK_MS, changeMs ?? LOOK_MS);
    this.#timer = setTimeout(() => this.#look(), delayMs);
  }
}

const CLOSED = new FlashmoeError('ERR_INTERRUPTED', 'paused', { resumable: true });
