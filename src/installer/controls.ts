// Pause and resume, from a key or another process. A pause stops downloads at once (their bytes are kept)
// and packing after the layer at hand.

import { FlashmoeError } from '../base/errors.js';
import type { Holds } from './holds.js';

export class Controls {
  #paused = false;
  readonly #listeners = new Set<(paused: boolean) => void>();

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
  onChange(listener: (paused: boolean) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #set(paused: boolean): void {
    if (paused === this.#paused) return;
    this.#paused = paused;
    for (const listener of this.#listeners) listener(paused);
  }
}

/** What work sees of the controls: it passes the gate before each step, and drops transfers when it closes. */
export class Gate {
  readonly #controls: Controls;
  readonly #holds: Holds;
  readonly #unsubscribe: () => void;
  #pause = new AbortController();

  constructor(controls: Controls, holds: Holds) {
    this.#controls = controls;
    this.#holds = holds;
    this.#unsubscribe = controls.onChange((paused) => {
      this.#follow(paused);
    });
    this.#follow(controls.paused);
  }

  /** Aborts at the next pause; after it a new one. */
  get signal(): AbortSignal {
    return this.#pause.signal;
  }

  /** Resolves at once while open, else when it opens; rejects with the signal's reason on abort. */
  async pass(signal: AbortSignal): Promise<void> {
    while (this.#controls.paused) {
      await new Promise<void>((resolve, reject) => {
        const settle = (): void => {
          unsubscribe();
          signal.removeEventListener('abort', settle);
          if (signal.aborted) reject(signal.reason as Error);
          else resolve();
        };
        const unsubscribe = this.#controls.onChange(settle);
        signal.addEventListener('abort', settle);
        if (signal.aborted) settle();
      });
    }
  }

  close(): void {
    this.#unsubscribe();
    this.#holds.release('pause');
  }

  #follow(paused: boolean): void {
    if (paused) {
      this.#holds.hold('pause', { code: 'paused', reason: 'paused' });
      this.#pause.abort(PAUSED);
    } else {
      if (this.#pause.signal.aborted) this.#pause = new AbortController();
      this.#holds.release('pause');
    }
  }
}

const PAUSED = new FlashmoeError('ERR_INTERRUPTED', 'paused', { resumable: true });
