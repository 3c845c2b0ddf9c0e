// How far a stage is and how fast: absolute byte counts per item in, totals, rate and time left out.
// Pure; times are milliseconds since the epoch, given by whoever feeds it.

const RATE_WINDOW_MS = 10_000;
/** Events closer together than this share a sample: the window then never holds more than 41. */
const SAMPLE_MS = 250;
/** Below this much history a rate says more about the first packet than about the line. */
const SETTLED_MS = 3_000;

interface Sample {
  at: number;
  moved: number;
}

export interface Meter {
  items: Readonly<Record<string, { done: number; total: number; before: number }>>;
  /** Bytes of all items seen, those found on disk included. */
  done: number;
  /** Of `done`, there before the run began. */
  before: number;
  total: number;
  /** Bytes moved by this run: what an item had when it first showed up doesn't count as speed. */
  moved: number;
  firstAt: number | null;
  /** When `moved` last grew or an item showed up. */
  movedAt: number | null;
  samples: readonly Sample[];
}

export const EMPTY_METER: Meter = {
  items: {},
  done: 0,
  before: 0,
  total: 0,
  moved: 0,
  firstAt: null,
  movedAt: null,
  samples: [],
};

/** `done` is absolute and may go back, when a damaged file starts over. */
export function advance(
  meter: Meter,
  item: string,
  done: number,
  total: number,
  at: number,
  earlier = 0,
): Meter {
  const before = meter.items[item];
  const step = before === undefined ? 0 : Math.max(0, done - before.done);
  const moved = meter.moved + step;
  const last = meter.samples.at(-1);
  const sample: Sample = { at, moved };
  // The last sample is moved forward rather than joined by another, unless it is old enough to keep.
  const beforeLast = meter.samples.at(-2);
  const replace =
    last !== undefined && beforeLast !== undefined && last.at - beforeLast.at < SAMPLE_MS;
  const kept = replace ? meter.samples.slice(0, -1) : meter.samples;
  return {
    items: { ...meter.items, [item]: { done, total, before: earlier } },
    before: meter.before + earlier - (before?.before ?? 0),
    done: meter.done + done - (before?.done ?? 0),
    total: meter.total + total - (before?.total ?? 0),
    moved,
    firstAt: meter.firstAt ?? at,
    movedAt: step > 0 || before === undefined ? at : meter.movedAt,
    samples: [...kept.filter((old) => at - old.at <= RATE_WINDOW_MS), sample],
  };
}

/** Bytes a second over the last 10 s; null before there is enough to tell. */
export function rate(meter: Meter, now: number): number | null {
  const first = meter.samples.find((sample) => now - sample.at <= RATE_WINDOW_MS);
  if (first === undefined) return meter.firstAt === null ? null : 0;
  const span = now - first.at;
  if (meter.firstAt === null || now - meter.firstAt < SETTLED_MS || span <= 0) return null;
  return ((meter.moved - first.moved) * 1000) / span;
}

/**
 * Seconds for `remaining` bytes as a range: between the speed of the last 10 s and that of the whole
 * run, a tenth wider on each side, and never faster than the limit in force. Null while stalled or too early.
 */
export function timeLeft(
  meter: Meter,
  remaining: number,
  now: number,
  bytesPerSecond: number | null = null,
): { low: number; high: number } | null {
  if (remaining <= 0) return { low: 0, high: 0 };
  const recent = rate(meter, now);
  if (recent === null || meter.firstAt === null) return null;
  const mean = (meter.moved * 1000) / (now - meter.firstAt);
  const most = bytesPerSecond ?? Infinity;
  const slow = Math.min(recent, mean, most);
  if (slow <= 0) return null;
  const fast = Math.min(Math.max(recent, mean), most);
  return { low: (remaining / fast) * 0.9, high: (remaining / slow) * 1.1 };
}

/** Seconds since the last byte; 0 while they flow. */
export function stalledSeconds(meter: Meter, now: number): number {
  if (meter.movedAt === null) return 0;
  const silent = (now - meter.movedAt) / 1000;
  return silent < 5 ? 0 : silent;
}
