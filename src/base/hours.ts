// Hours of the day in which the network may be used. Pure: a range and a time in, open or closed and the next
// change out. Everything follows the local wall clock as it is at that moment, so that a clock that was set,
// a night of 23 or 25 hours and a sleep in between need no case of their own.

export interface Hours {
  /** Minutes since local midnight, 0 to 1439. */
  from: number;
  /** Exclusive; below `from` where the range crosses midnight. */
  to: number;
}

const FORM = /^([01]?\d|2[0-3])(?::([0-5]\d))?\s*-\s*([01]?\d|2[0-4])(?::([0-5]\d))?$/;
const DAY = 24 * 60;

/** `23:00-07:00`, `9-17`; null when it is no range of hours, or one of no or all hours. */
export function parseHours(text: string): Hours | null {
  const match = FORM.exec(text.trim());
  if (match === null) return null;
  const [, fromHour = '', fromMinute = '0', toHour = '', toMinute = '0'] = match;
  const from = Number(fromHour) * 60 + Number(fromMinute);
  const end = Number(toHour) * 60 + Number(toMinute);
  if (end > DAY || from === end % DAY) return null;
  return { from, to: end % DAY };
}

/** `23:00-07:00`. */
export function formatHours({ from, to }: Hours): string {
  return `${clock(from)}-${clock(to)}`;
}

/** At `now`, in milliseconds since the epoch. */
export function isOpen({ from, to }: Hours, now: number): boolean {
  const minute = minuteOf(new Date(now));
  return from < to ? minute >= from && minute < to : minute >= from || minute < to;
}

/** When the range next opens (or closes, where it is open), in milliseconds since the epoch; after `now`. */
export function nextChange(hours: Hours, now: number): number {
  const minute = isOpen(hours, now) ? hours.to : hours.from;
  const day = new Date(now);
  for (let ahead = 0; ; ahead += 1) {
    // An hour that the clocks skip is the one after it: Date moves it there.
    const at = new Date(
      day.getFullYear(),
      day.getMonth(),
      day.getDate() + ahead,
      Math.floor(minute / 60),
      minute % 60,
    ).getTime();
    if (at > now) return at;
  }
}

/** Beyond it days are not counted one by one. */
const FAR_MS = 366 * 24 * 3_600_000;

/** When `ms` of open time will have passed, in milliseconds since the epoch; infinite when that is beyond a year. */
export function openUntil(hours: Hours, now: number, ms: number): number {
  if (ms > FAR_MS) return Infinity;
  let [at, left] = [now, ms];
  for (;;) {
    const change = nextChange(hours, at);
    if (!isOpen(hours, at)) at = change;
    else if (change - at >= left) return at + left;
    else {
      left -= change - at;
      at = change;
    }
  }
}

function minuteOf(date: Date): number {
  return date.getHours() * 60 + date.getMinutes();
}

function clock(minute: number): string {
  const [hour, rest] = [Math.floor(minute / 60), minute % 60];
  return `${String(hour).padStart(2, '0')}:${String(rest).padStart(2, '0')}`;
}
