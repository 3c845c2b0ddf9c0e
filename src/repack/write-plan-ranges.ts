// A write plan as requests: which bytes of which shard come next. Pure.

import type { SourceRun } from './write-plan.js';

/** One request: bytes [start, end) of a shard, for position `at` of the write plan. */
export interface PlannedRange {
  shard: string;
  start: number;
  end: number;
  at: number;
}

export interface Interval {
  start: number;
  end: number;
}

/** Ring for bytes that arrive early: one hundredth of the model at most, and no more than 128 MiB. */
const MOST_WINDOW = 128 << 20;
const LEAST_WINDOW = 1 << 20;
/** As many connections as there may be share the window. */
export const MOST_CONNECTIONS = 16;

export function windowFor(finalBytes: number): number {
  const share = Math.floor(finalBytes / 128 / LEAST_WINDOW) * LEAST_WINDOW;
  return Math.min(MOST_WINDOW, Math.max(LEAST_WINDOW, share));
}

/** Bytes of one request: every connection has one under way, and the window still has room for a second round. */
export function requestBytes(window: number): number {
  return window / (2 * MOST_CONNECTIONS);
}

/** Requests for everything from position `from` on, without what is `received`; each inside one run. In the order of the write plan. */
export function* rangesFrom(
  runs: readonly SourceRun[],
  from: number,
  received: readonly Interval[],
  most: number,
): Generator<PlannedRange, void, void> {
  for (const { shard, start, end, at } of runs) {
    const last = at + end - start;
    let position = Math.max(from, at);
    while (position < last) {
      const here = received.find((one) => one.start <= position && position < one.end);
      if (here !== undefined) {
        position = here.end;
        continue;
      }
      const next = Math.min(
        ...received.filter((one) => one.start > position).map((one) => one.start),
        last,
        // Cut at multiples, so that a resumed run asks for the same ranges as the first.
        (Math.floor(position / most) + 1) * most,
      );
      yield { shard, start: start + position - at, end: start + next - at, at: position };
      position = next;
    }
  }
}
