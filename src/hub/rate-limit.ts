// How long a server asks us to stay away. Pure: headers in, milliseconds out.

import type { IncomingHttpHeaders } from 'node:http';

/** Nobody is asked to come back later than this; a header that says more is taken for this. */
const LONGEST_WAIT_MS = 6 * 3600 * 1000;

/**
 * Milliseconds until the next request, or undefined when the answer doesn't say.
 * `RateLimit: "api";r=0;t=55` waits t + 1 s; else `Retry-After` in seconds or as an HTTP date, which is
 * measured against the answer's own `Date` so that a wrong clock here does no harm.
 */
export function waitFromHeaders(headers: IncomingHttpHeaders): number | undefined {
  const limit = /;\s*r\s*=\s*(\d+)\s*;\s*t\s*=\s*(\d+)/.exec(single(headers.ratelimit));
  if (limit !== null && Number(limit[1]) === 0) return bounded((Number(limit[2]) + 1) * 1000);
  const after = single(headers['retry-after']).trim();
  if (/^\d+$/.test(after)) return bounded(Number(after) * 1000);
  const until = Date.parse(after) - Date.parse(single(headers.date));
  return Number.isNaN(until) ? undefined : bounded(until);
}

function bounded(milliseconds: number): number {
  return Math.min(LONGEST_WAIT_MS, Math.max(0, milliseconds));
}

function single(value: string | string[] | undefined): string {
  return Array.isArray(value) ? (value[0] ?? '') : (value ?? '');
}
