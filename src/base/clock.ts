// Times of day in the user's own zone.

import { formatDuration } from './format.js';

/** `14:02`. Takes milliseconds since the epoch or ISO 8601. */
export function clockOf(time: number | string): string {
  return new Date(time).toTimeString().slice(0, 5);
}

/** `14:02:07`. */
export function clockWithSeconds(time: number): string {
  return new Date(time).toTimeString().slice(0, 8);
}

/** `slept 02:13-06:40 (4 h 27 min)`. ISO 8601. */
export function sleptText({ from, until }: { from: string; until: string }): string {
  const seconds = (new Date(until).getTime() - new Date(from).getTime()) / 1000;
  return `slept ${clockOf(from)}-${clockOf(until)} (${formatDuration(seconds)})`;
}
