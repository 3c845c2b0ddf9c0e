// Times of day in the user's own zone.

/** `14:02`. Takes milliseconds since the epoch or ISO 8601. */
export function clockOf(time: number | string): string {
  return new Date(time).toTimeString().slice(0, 5);
}

/** `14:02:07`. */
export function clockWithSeconds(time: number): string {
  return new Date(time).toTimeString().slice(0, 8);
}
