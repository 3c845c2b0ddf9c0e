import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { clockJump } from '../../src/base/clock-jump.js';
import { parseDeadline } from '../../src/base/deadline.js';
import { watchClock } from '../../src/jobs/clock-watch.js';
import type { InstallEvent } from '../../src/jobs/events.js';
import { parseRecord, type RecordLine } from '../../src/jobs/record/lines.js';
import { readRecord, Recorder } from '../../src/jobs/record/recorder.js';
import { RECORD_LIMIT } from '../../src/jobs/record/lines.js';
import { summarise } from '../../src/jobs/record/summary.js';
import { reportText } from '../../src/ui/report-view.js';

const HOUR = 3_600_000;
const NIGHT = Date.UTC(2026, 4, 4, 22, 0);
const MB = 1_000_000;
const folder = mkdtempSync(join(tmpdir(), 'flashmoe-record-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** A run of 2 h at 10 MB/s that was killed, 6 h of nothing, and one of 1 h at 20 MB/s that finished. */
const lines: RecordLine[] = [
  { do: 'begin', at: NIGHT, pid: 1 },
  ...[1, 2, 3, 4].map((half): RecordLine => {
    const at = NIGHT + (half * HOUR) / 2;
    return { do: 'sample', at, received: half * 18_000 * MB, peak: half * 1000 * MB };
  }),
  {
    do: 'wait',
    at: NIGHT + HOUR,
    until: NIGHT + HOUR + 600_000,
    reason: 'the network is unreachable',
  },
  { do: 'slept', at: NIGHT + 2 * HOUR, until: NIGHT + 8 * HOUR },
  { do: 'begin', at: NIGHT + 8 * HOUR, pid: 2 },
  { do: 'end', at: NIGHT + 9 * HOUR, received: 72_000 * MB, peak: 3000 * MB, outcome: 'finished' },
];

describe('the record of a night', () => {
  it('adds up the bytes and the peak of all runs, those of a killed one included', () => {
    expect(summarise(lines)).toMatchObject({
      ...{ runs: 2, killed: 1, receivedBytes: 144_000 * MB, peakBytes: 4000 * MB },
      outcome: 'finished',
      waits: [{ from: '2026-05-04T23:00:00.000Z', reason: 'the network is unreachable' }],
      sleeps: [{ from: '2026-05-05T00:00:00.000Z', until: '2026-05-05T06:00:00.000Z' }],
    });
  });

  it('becomes a timeline of the rate, with the hours in which nobody was at work', () => {
    const { timeline } = summarise(lines);
    expect(timeline).toHaveLength(24);
    expect(timeline[0]).toEqual({ from: new Date(NIGHT).toISOString(), bytesPerSecond: 10 * MB });
    expect(timeline[12]?.bytesPerSecond).toBeNull();
    expect(timeline.at(-1)?.bytesPerSecond).toBe(20 * MB);
  });

  it('is read past a torn line, and past one of a newer program', () => {
    const text = `${JSON.stringify(lines[0])}\n{"do":"dreamt","at":1}\n{"do":"sam`;
    expect(parseRecord(text)).toEqual([lines[0]]);
  });

  it('is a report of at most 80 columns', () => {
    const text = reportText({
      ...{
        model: 'big',
        state: 'ready' as const,
        why: null,
        next: 'flashmoe run',
        ...summarise(lines),
        wastedBytes: 5 * MB,
        finalBytes: 200 * MB,
      },
      ...{ contentSha256: 'ab'.repeat(32), doneBytes: null, totalBytes: null },
    });
    for (const line of text.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
    expect(text).toContain('2 runs, 1 of them killed, finished');
    expect(text).toContain('144 GB (134 GiB), 5.00 MB of it beyond the model');
    expect(text).toContain('waited 1 times, 10 min in all');
    expect(text).toContain('(6 h)');
    expect(text).toContain('nobody at work');
  });
});

describe('a recorder', () => {
  const path = join(folder, 'record.ndjson');

  it('writes samples now and then, waits that lasted, and the end; the next run finds them', async () => {
    let now = NIGHT;
    let received = 0;
    const begin = (): Promise<Recorder> =>
      Recorder.begin(
        path,
        7,
        () => now,
        () => ({ received, peak: 2 * received }),
      );
    const first = await begin();
    expect(first.earlier).toBeNull();
    const progress: InstallEvent = {
      type: 'progress',
      step: 'fetch',
      item: 'a',
      done: 1,
      total: 2,
    };
    for (let second = 0; second < 60; second += 1) {
      now += 1000;
      received += MB;
      first.see(progress);
    }
    first.see({ type: 'waiting', code: 'ERR_DISK_FULL', reason: 'full' });
    now += 20_000;
    first.see({ type: 'resumed' });
    first.see({ type: 'waiting', code: 'paused', reason: 'blink' });
    now += 1000;
    first.see({ type: 'resumed' });
    await first.end('ERR_INTERRUPTED');
    const found = await readRecord(path);
    expect(found.filter((line) => line.do === 'sample').length).toBeGreaterThanOrEqual(4);
    expect(found.filter((line) => line.do === 'wait')).toMatchObject([{ reason: 'full' }]);
    received = 0;
    const second = await begin();
    expect(second.earlier).toMatchObject({ runs: 1, receivedBytes: 60 * MB, peakBytes: 120 * MB });
    await second.end('finished');
  });

  it('stays bounded however long and restless the nights are, and keeps the sums', async () => {
    const run = (at: number): RecordLine[] => [
      { do: 'begin', at, pid: 1 },
      ...Array.from({ length: 500 }, (_, n): RecordLine => ({
        ...{ do: 'wait', at: at + n, until: at + n + 9000, reason: 'x'.repeat(100) },
      })),
      { do: 'end', at: at + 1000, received: MB, peak: MB, outcome: 'ERR_NETWORK' },
    ];
    const long = Array.from({ length: 20 }, (_, night) => run(NIGHT + night * 1000)).flat();
    writeFileSync(path, long.map((line) => `${JSON.stringify(line)}\n`).join(''));
    expect(statSync(path).size).toBeGreaterThan(RECORD_LIMIT);
    const recorder = await Recorder.begin(
      path,
      1,
      () => NIGHT,
      () => ({ received: 0, peak: 0 }),
    );
    for (let n = 0; n < 8_000; n += 1) {
      recorder.see({
        type: 'slept',
        from: new Date(NIGHT).toISOString(),
        until: new Date(NIGHT).toISOString(),
      });
    }
    await recorder.end('finished');
    expect(statSync(path).size).toBeLessThanOrEqual(2 * RECORD_LIMIT);
    const summary = summarise(parseRecord(readFileSync(path, 'utf8')));
    expect(summary).toMatchObject({ runs: 21, receivedBytes: 20 * MB, outcome: 'finished' });
  });
});

describe('a jump of the clock', () => {
  const at = (wall: number, uptime: number) => ({ wall, uptime });

  it.each([
    ['nothing, when the tick comes in time', at(5_000, 5_000), { sleptMs: 0, setByMs: 0 }],
    ['nothing, on a machine that is busy for 20 s', at(25_000, 25_000), { sleptMs: 0, setByMs: 0 }],
    ['a sleep', at(4 * HOUR + 5_000, 4 * HOUR + 5_000), { sleptMs: 4 * HOUR, setByMs: 0 }],
    ['a clock set forward', at(4 * HOUR + 5_000, 5_000), { sleptMs: 0, setByMs: 4 * HOUR }],
    ['a clock set back', at(5_000 - HOUR, 5_000), { sleptMs: 0, setByMs: -HOUR }],
  ])('is %s', (_, now, expected) => {
    expect(clockJump(at(0, 0), now, 5_000)).toEqual(expected);
  });

  it('that was a sleep is told with its hours, and everything reconnects', async () => {
    let [wall, up] = [NIGHT, 0];
    const events: InstallEvent[] = [];
    const woken = new Promise<void>((resolve) => {
      const host = { now: () => wall, uptime: () => up };
      const watch = watchClock(
        host,
        (event) => events.push(event),
        () => {
          watch.close();
          resolve();
        },
        5,
      );
      wall += HOUR;
      up += HOUR;
    });
    const alive = setInterval(() => undefined, 1000);
    await woken;
    clearInterval(alive);
    expect(events).toMatchObject([{ type: 'slept', until: new Date(NIGHT + HOUR).toISOString() }]);
  });
});

describe('a deadline', () => {
  const now = new Date('2026-05-04T22:10:30').getTime();
  const local = (text: string): number => new Date(text).getTime();

  it.each([
    ['8h', now + 8 * HOUR],
    ['90min', now + 1.5 * HOUR],
    ['07:00', local('2026-05-05T07:00')],
    ['23:30', local('2026-05-04T23:30')],
    ['22:10', local('2026-05-05T22:10')],
    ['2026-05-05T05:00:00.000Z', Date.UTC(2026, 4, 5, 5)],
  ])('of %s is that time', (text, expected) => {
    expect(parseDeadline(text, now)).toBe(expected);
  });

  it.each(['', 'soon', '25:00', '7', '2026', '-8h'])('is refused as %j', (text) => {
    expect(parseDeadline(text, now)).toBeNull();
  });
});
