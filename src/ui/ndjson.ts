// Events as NDJSON: `{v, t, event, …}`, one line each, no ANSI. The last line of a run is its result.

import type { InstallEvent } from '../jobs/events.js';

export const NDJSON_VERSION = 1;

/** One line without its newline. `t` is ISO 8601 in UTC with milliseconds, from `now` (ms since the epoch). */
export function toNdjson(event: string, fields: object, now: number): string {
  return JSON.stringify({ v: NDJSON_VERSION, t: new Date(now).toISOString(), event, ...fields });
}

export interface NdjsonOptions {
  write(line: string): void;
  now(): number;
  /** Least time between two progress lines of one step, or two disk lines; a finished item is never dropped. */
  sampleMs?: number;
}

/** A sink that writes every fact and samples what may be sampled: 200 GB would be millions of progress lines. */
export function ndjsonSink(options: NdjsonOptions): (event: InstallEvent) => void {
  const sampleMs = options.sampleMs ?? 1000;
  const lastAt = new Map<string, number>();
  return (event) => {
    const now = options.now();
    if (event.type === 'progress' || event.type === 'disk') {
      const key = event.type === 'progress' ? `progress ${event.step}` : 'disk';
      const finished = event.type === 'progress' && event.done >= event.total;
      if (!finished && now - (lastAt.get(key) ?? -Infinity) < sampleMs) return;
      lastAt.set(key, now);
    }
    const { type, ...fields } = event;
    options.write(toNdjson(type, fields, now));
  };
}
