// How long one thing may take. Its own computing counts, where the system tells how much that was: on a machine that others keep
// busy, or while the model computes on all cores, a clock on the wall would refuse what takes a second.

import { readFileSync } from 'node:fs';

/** Of a second: Linux counts in these, whatever its kernel was built with. */
const TICKS = 100;

/**
 * Milliseconds that a thread of this process has computed for. null where the system does not tell.
 * @param thread the system's number of it
 */
export function computedMs(thread: number | null): number | null {
  if (thread === null) return null;
  try {
    const text = readFileSync(`/proc/self/task/${thread}/stat`, 'utf8');
    // The name, in brackets, may hold anything; utime and stime are the 14th and 15th field.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    const ticks = Number(fields[11]) + Number(fields[12]);
    return Number.isNaN(ticks) ? null : (1000 * ticks) / TICKS;
  } catch {
    return null;
  }
}

export class Patience {
  readonly #begun: number | null;
  #waitedMs = 0;

  /**
   * @param limitMs of computing, or of waiting where that is not known
   * @param mostMs of waiting in any case
   */
  constructor(
    private readonly limitMs: number,
    private readonly mostMs: number,
    private readonly computed: () => number | null,
  ) {
    this.#begun = computed();
  }

  /** Milliseconds to wait next, after so many more that were waited; 0: it is over. */
  next(waitedMs: number): number {
    this.#waitedMs += waitedMs;
    const now = this.computed();
    const spent = this.#begun === null || now === null ? this.#waitedMs : now - this.#begun;
    const left = Math.min(this.limitMs - spent, this.mostMs - this.#waitedMs);
    // A clock of ticks is late by one.
    return left <= 1000 / TICKS ? 0 : left;
  }
}
