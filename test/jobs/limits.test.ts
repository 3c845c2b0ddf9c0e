import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { formatHours, isOpen, nextChange, parseHours } from '../../src/base/hours.js';
import { NO_LIMITS, readLimits, writeLimits } from '../../src/jobs/limits.js';
import { parseRate } from '../../src/base/rate.js';

describe('a rate', () => {
  it.each([
    ['20MB/s', 20_000_000],
    ['20 MB/s', 20_000_000],
    ['2.5MiB/s', 2_621_440],
    ['800kB', 800_000],
    ['100Mbit/s', 12_500_000],
    ['5M', 5_000_000],
    ['20000000B/s', 20_000_000],
  ])('of %s is %d bytes a second', (text, expected) => {
    expect(parseRate(text)).toBe(expected);
  });

  it.each(['', '0', '20mb/s', '20Mb/s', '-1MB/s', '999', 'fast', '1e9', '20MB/h'])(
    'is refused where it is no clear one: %j',
    (text) => {
      expect(parseRate(text)).toBeNull();
    },
  );
});

describe('hours', () => {
  const zone = process.env['TZ'];
  beforeAll(() => {
    process.env['TZ'] = 'Europe/Berlin';
  });
  afterAll(() => {
    if (zone === undefined) delete process.env['TZ'];
    else process.env['TZ'] = zone;
  });
  const night = { from: 23 * 60, to: 7 * 60 };
  const local = (text: string): number => new Date(text).getTime();
  const clock = (at: number): string => new Date(at).toTimeString().slice(0, 5);

  it.each([
    ['23:00-07:00', night],
    ['23-7', night],
    ['9:30 - 17:15', { from: 570, to: 1035 }],
    ['18-24', { from: 1080, to: 0 }],
  ])('are read from %s', (text, expected) => {
    expect(parseHours(text)).toEqual(expected);
  });

  it.each(['', '23:00', '7-7', '0-24', '25-7', '23:60-7', '24-7', 'night'])(
    'are refused where they are none, or all: %j',
    (text) => {
      expect(parseHours(text)).toBeNull();
    },
  );

  it('are written as they are read', () => {
    expect(formatHours(night)).toBe('23:00-07:00');
    expect(parseHours(formatHours(night))).toEqual(night);
  });

  it('may cross midnight, begin with their first minute and end before their last', () => {
    const at = (time: string): boolean => isOpen(night, local(`2026-05-04T${time}`));
    expect(['22:59:59', '23:00', '00:00', '06:59:59', '07:00', '12:00'].map(at)).toEqual([
      ...[false, true, true, true, false, false],
    ]);
  });

  it('tell when they open and close next', () => {
    expect(nextChange(night, local('2026-05-04T12:00'))).toBe(local('2026-05-04T23:00'));
    expect(nextChange(night, local('2026-05-04T23:30'))).toBe(local('2026-05-05T07:00'));
    expect(nextChange(night, local('2026-12-31T23:30'))).toBe(local('2027-01-01T07:00'));
    expect(nextChange(night, local('2026-05-04T07:00'))).toBe(local('2026-05-04T23:00'));
  });

  it('follow the wall clock through the night that has 23 hours, and the one that has 25', () => {
    for (const [evening, hours] of [
      ['2026-03-28T23:00', 7],
      ['2026-10-24T23:00', 9],
    ] as const) {
      const closes = nextChange(night, local(evening));
      expect(clock(closes)).toBe('07:00');
      expect((closes - local(evening)) / 3_600_000).toBe(hours);
    }
    // 02:30 does not exist on that day; an hour later does.
    const skipped = nextChange({ from: 150, to: 400 }, local('2026-03-29T01:00'));
    expect(clock(skipped)).toBe('03:30');
  });
});

describe('limits in a folder', () => {
  const folder = mkdtempSync(join(tmpdir(), 'flashmoe-limits-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'limits.json');

  it('are none before any were set, and afterwards what was set', async () => {
    expect(await readLimits(path)).toEqual(NO_LIMITS);
    const values = { bytesPerSecond: 5_000_000, hours: { from: 60, to: 120 } };
    await writeLimits(path, values);
    expect(await readLimits(path)).toEqual(values);
  });

  it('that make no sense are an error that names the file, never ignored', async () => {
    writeFileSync(path, '{"schema":1,"bytesPerSecond":-4,"hours":null}');
    await expect(readLimits(path)).rejects.toMatchObject({ code: 'ERR_HOME', subject: path });
  });
});
