// Why a run holds still, when several parts of it may wait at once: one `waiting` for each reason, and
// `resumed` only when the last is gone.

import type { Emit, InstallEvent } from './events.js';

export type PauseReason = Omit<Extract<InstallEvent, { type: 'waiting' }>, 'type'>;

export class PauseReasons {
  readonly #emit: Emit;
  readonly #held = new Map<string, PauseReason>();

  constructor(emit: Emit) {
    this.#emit = emit;
  }

  /** Tells it unless the very same is being told already. */
  hold(key: string, hold: PauseReason): void {
    if (this.#held.get(key)?.reason === hold.reason) return;
    this.#held.set(key, hold);
    this.#emit({ type: 'waiting', ...hold });
  }

  release(key: string): void {
    if (!this.#held.delete(key)) return;
    const [left] = this.#held.values();
    this.#emit(left === undefined ? { type: 'resumed' } : { type: 'waiting', ...left });
  }
}
