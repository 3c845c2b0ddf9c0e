// Rate and hours as they are typed, for `setup`, `limit` and `hours`.

import { InvalidArgumentError } from 'commander';
import { parseDeadline } from '../base/deadline.js';
import { formatHours, parseHours } from '../base/hours.js';
import type { LimitChange } from '../jobs/limits.js';
import { parseRate } from '../base/rate.js';

export type { LimitChange } from '../jobs/limits.js';

const OFF = 'off';

export function rateChange(text: string): { bytesPerSecond: number | null } {
  if (text === OFF) return { bytesPerSecond: null };
  const bytesPerSecond = parseRate(text);
  if (bytesPerSecond === null) {
    throw new InvalidArgumentError(
      'It is no rate of 1kB/s or more: write 20MB/s, 2.5MiB/s, 100Mbit/s, or off',
    );
  }
  return { bytesPerSecond };
}

export function hoursChange(text: string): { hours: LimitChange['hours'] } {
  if (text === OFF) return { hours: null };
  const hours = parseHours(text);
  if (hours === null) {
    throw new InvalidArgumentError('It is no range of hours: write 23:00-07:00, 1-6, or off');
  }
  return { hours };
}

export function deadline(text: string): number {
  const at = parseDeadline(text, Date.now());
  if (at === null) throw new InvalidArgumentError('It is no time: write 07:00, 8h, 90min or 2d');
  return at;
}

/** Options of `setup` that say the same again. */
export function limitWords({ bytesPerSecond, hours }: LimitChange): string[] {
  return [
    ...(bytesPerSecond === undefined
      ? []
      : ['--limit', bytesPerSecond === null ? OFF : `${bytesPerSecond}B/s`]),
    ...(hours === undefined ? [] : ['--hours', hours === null ? OFF : formatHours(hours)]),
  ];
}
