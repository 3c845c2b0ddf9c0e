// Ends a text at the first of several stop strings. What could still become one is held back, so that
// no part of a stop string is ever passed on, however its characters are spread over pieces.

export class StopSequences {
  #held = '';

  /** @param stops non-empty strings */
  constructor(private readonly stops: readonly string[]) {}

  /** Text that is safe to pass on, and the stop string that ended it; then push no more. */
  push(piece: string): { text: string; stopped: string | null } {
    const text = this.#held + piece;
    let end = text.length;
    let stopped: string | null = null;
    for (const stop of this.stops) {
      const at = text.indexOf(stop);
      if (at >= 0 && at < end) [end, stopped] = [at, stop];
    }
    if (stopped === null) end -= this.#longestBeginning(text);
    this.#held = stopped === null ? text.slice(end) : '';
    return { text: text.slice(0, end), stopped };
  }

  /** What was held back, when nothing follows. */
  end(): string {
    const text = this.#held;
    this.#held = '';
    return text;
  }

  #longestBeginning(text: string): number {
    return Math.max(0, ...this.stops.map((stop) => overlap(text, stop)));
  }
}

/** Length of the longest proper beginning of `marker` that `text` ends with. */
export function overlap(text: string, marker: string): number {
  for (let length = Math.min(text.length, marker.length - 1); length > 0; length--) {
    if (text.endsWith(marker.slice(0, length))) return length;
  }
  return 0;
}
