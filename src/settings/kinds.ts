// Kinds of values that several options share.

import { isAbsolute, resolve } from 'node:path';
import * as z from 'zod';
import { parseDeadline } from '../base/deadline.js';
import { formatHours, parseHours, type Hours } from '../base/hours.js';
import { parseRate } from '../base/rate.js';
import type { Kind } from './option.js';

export const text: Kind<string> = {
  what: 'a text that is not empty',
  schema: z.string().min(1),
  read: (typed) => typed,
  write: (value) => value,
};

/** Typed relative to the folder one stands in; from a file or a program it has to be absolute. */
export const path: Kind<string> = {
  what: 'an absolute path',
  schema: z.string().refine(isAbsolute),
  read: (typed) => (typed === '' ? undefined : resolve(typed)),
  write: (value) => value,
};

export function oneOf<const Choices extends readonly [string, ...string[]]>(
  choices: Choices,
): Kind<Choices[number]> {
  return {
    what: `one of ${choices.join(', ')}`,
    schema: z.enum(choices),
    read: (typed) => typed,
    write: (value) => value,
    choices,
  };
}

/** Typed one behind the other: `--text a.md b.md`. */
export function listOf<Value>(each: Kind<Value>): Kind<Value[]> {
  return {
    what: `a list, each ${each.what}`,
    schema: z.array(each.schema).min(1),
    read: (typed, now) => [each.read(typed, now)],
    write: (values) => values.map((value) => each.write(value)).join(' '),
  };
}

export function numberFrom(least: number, most: number, unit = ''): Kind<number> {
  return {
    what: `a number ${unit}from ${least} to ${most}`,
    schema: z.number().min(least).max(most),
    read: (typed) => (typed.trim() === '' ? undefined : Number(typed)),
    write: String,
  };
}

export function wholeNumberFrom(least: number, most: number): Kind<number> {
  return {
    what: `a whole number from ${least} to ${most}`,
    schema: z.number().int().min(least).max(most),
    read: (typed) => (/^\d{1,15}$/.test(typed) ? Number(typed) : undefined),
    write: String,
  };
}

const UNITS = { B: 1, KB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12 } as const;
const BINARY_UNITS = { KIB: 2 ** 10, MIB: 2 ** 20, GIB: 2 ** 30, TIB: 2 ** 40 } as const;

export const byteCount: Kind<number> = {
  what: 'a number of bytes: 150GB, 1.5TB or 140GiB',
  schema: z.number().int().positive(),
  read(typed) {
    const [, number, unit = ''] = /^(\d{1,15}(?:\.\d{1,6})?) ?([KMGT]?i?B)$/i.exec(typed) ?? [];
    const factor: Record<string, number> = { ...UNITS, ...BINARY_UNITS };
    return Math.floor(Number(number) * (factor[unit.toUpperCase()] ?? NaN));
  },
  write: (bytes) => `${bytes}B`,
};

const OFF = 'off';

/** Bytes per second; null: no limit. */
export const rate: Kind<{ bytesPerSecond: number | null }> = {
  what: 'a rate of 1kB/s or more: 20MB/s, 2.5MiB/s, 100Mbit/s, or off',
  schema: z.object({ bytesPerSecond: z.number().int().positive().nullable() }),
  read: (typed) => ({ bytesPerSecond: typed === OFF ? null : (parseRate(typed) ?? undefined) }),
  write: ({ bytesPerSecond }) => (bytesPerSecond === null ? OFF : `${bytesPerSecond}B/s`),
};

const minute = z.number().int().min(0).max(1439);

/** Minutes of the day; null: at any time. */
export const hours: Kind<{ hours: Hours | null }> = {
  what: 'a range of hours: 23:00-07:00, 1-6, or off',
  schema: z.object({ hours: z.object({ from: minute, to: minute }).nullable() }),
  read: (typed) => ({ hours: typed === OFF ? null : (parseHours(typed) ?? undefined) }),
  write: ({ hours: range }) => (range === null ? OFF : formatHours(range)),
};

/** Milliseconds since the epoch. */
export const time: Kind<number> = {
  what: 'a time: 07:00, 8h, 90min or 2d',
  schema: z.number().int().positive(),
  read: (typed, now) => parseDeadline(typed, now) ?? undefined,
  write: (at) => new Date(at).toISOString(),
};
