// A time by which something must be over, as people type it. Pure.

import { nextChange } from './hours.js';

const SPAN = /^(\d{1,4})\s*(min|h|d)$/;
const CLOCK = /^([01]?\d|2[0-3]):([0-5]\d)$/;
const UNIT_MS: Readonly<Record<string, number>> = { min: 60_000, h: 3_600_000, d: 86_400_000 };

/** `07:30` (the next one by the local clock), `8h`, `90min`, `2d` or ISO 8601, in milliseconds since the epoch; null else. */
export function parseDeadline(text: string, now: number): number | null {
  const span = SPAN.exec(text.trim());
  if (span !== null) return now + Number(span[1]) * (UNIT_MS[span[2] ?? ''] ?? 0);
  const clock = CLOCK.exec(text.trim());
  if (clock !== null) {
    const minute = Number(clock[1]) * 60 + Number(clock[2]);
    const atThatMinute = nextChange({ from: minute, to: (minute + 1) % 1440 }, now);
    // Within that very minute the next change is its end: then tomorrow's is meant.
    const isNow = new Date(atThatMinute).getMinutes() !== minute % 60;
    return isNow
      ? nextChange({ from: minute, to: (minute + 1) % 1440 }, atThatMinute)
      : atThatMinute;
  }
  const at = /^\d{4}-\d\d-\d\dT/.test(text) ? Date.parse(text) : NaN;
  return Number.isNaN(at) ? null : at;
}
