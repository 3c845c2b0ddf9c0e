import { describe, expect, test } from 'vitest';
import { SharedPace, TokenBucket } from '../../src/hub/pace.js';
import { SHARD } from '../helpers/hub/repo-folder.js';
import { useRig } from '../helpers/hub/rig.js';
import { recordingTask } from '../helpers/hub/settings.js';

const MB = 1_000_000;

/** `lines` connections that always want more, on a clock that moves in steps; bytes passed in each second. */
function simulate(lines: number, seconds: number, rateAt: (second: number) => number): number[] {
  const chunk = 65_536;
  const step = 5;
  const bucket = new TokenBucket(rateAt(0), 0);
  const places = Array.from({ length: lines }, () => bucket.reserve(chunk, 0));
  const passed: number[] = [];
  for (let now = 0; now < seconds * 1000; now += step) {
    const second = Math.floor(now / 1000);
    if (now % 1000 === 0) bucket.setRate(rateAt(second), now);
    places.forEach((_, line) => {
      while (bucket.waitMs(places[line] ?? 0, now) === 0) {
        passed[second] = (passed[second] ?? 0) + chunk;
        places[line] = bucket.reserve(chunk, now);
      }
    });
  }
  return passed;
}

describe('a limited rate', () => {
  test.each([1, 4, 16])('is kept to one part in fifty over %i connections', (lines) => {
    const passed = simulate(lines, 60, () => 20 * MB);
    const mean = passed.reduce((sum, bytes) => sum + bytes, 0) / 60;
    expect(Math.abs(mean / (20 * MB) - 1)).toBeLessThan(0.02);
  });

  test('holds from the moment it is changed, also for chunks that wait already', () => {
    const passed = simulate(8, 30, (second) =>
      second < 10 ? 1 * MB : second < 20 ? 8 * MB : 2 * MB,
    );
    const mean = (from: number, to: number): number =>
      passed.slice(from, to).reduce((sum, bytes) => sum + bytes, 0) / (to - from);
    expect(mean(1, 10) / MB).toBeCloseTo(1, 1);
    expect(mean(11, 20) / MB).toBeCloseTo(8, 0);
    expect(mean(22, 30) / MB).toBeCloseTo(2, 1);
  });

  test('does not let an idle line save up more than a quarter of a second', () => {
    const bucket = new TokenBucket(1 * MB, 0);
    let allowed = 0;
    while (bucket.waitMs(bucket.reserve(10_000, 3_600_000), 3_600_000) === 0) allowed += 10_000;
    expect(allowed).toBeLessThanOrEqual(0.25 * MB + 10_000);
  });

  test('never lets more pass because a clock went back', () => {
    const bucket = new TokenBucket(1 * MB, 10_000);
    bucket.reserve(MB, 10_000);
    const place = bucket.reserve(MB, 5_000);
    expect(bucket.waitMs(place, 5_000)).toBeGreaterThan(700);
  });

  test('taken off, everybody who waits goes on at once', async () => {
    const pace = new SharedPace(1000);
    const { signal } = new AbortController();
    void pace.take(MB, signal);
    const waits = [pace.take(MB, signal), pace.take(MB, signal)];
    expect(waits).not.toContain(null);
    pace.setRate(null);
    for (const wait of waits) await wait;
    expect(pace.received).toBe(3 * MB);
  });

  test('ends a wait with the reason of an abort', async () => {
    const pace = new SharedPace(1000);
    const stop = new AbortController();
    void pace.take(MB, stop.signal);
    const waiting = pace.take(MB, stop.signal);
    stop.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
  });
});

describe('a limited client', () => {
  const rig = useRig(6 * MB);

  test('keeps the rate over real connections, all of them together', async () => {
    const pace = new SharedPace(4 * MB);
    const client = rig.client({}, { pace });
    const began = performance.now();
    const half = 3 * MB;
    const [first, second] = await Promise.all([
      client.readRange(rig.listing, SHARD, 0, half, recordingTask()),
      client.readRange(rig.listing, SHARD, half, half, recordingTask()),
    ]);
    const seconds = (performance.now() - began) / 1000;
    expect(Buffer.concat([first, second]).equals(rig.repo.shard)).toBe(true);
    expect(pace.received).toBe(6 * MB);
    // Less the burst and the last chunk of each, which is paid for by nobody.
    const least = (6 * MB - 4 * MB * 0.25 - 2 * 65_536) / (4 * MB);
    expect(seconds).toBeGreaterThan(least * 0.97);
    expect(seconds).toBeLessThan(least + 20);
  });

  test('is not taken for a stalled line, however slow it is told to be', async () => {
    const pace = new SharedPace(1 * MB);
    const timeouts = {
      responseMs: 10_000,
      idleMs: 10_000,
      floorBytesPerSecond: 2 * MB,
      floorWindowMs: 200,
    };
    const task = recordingTask();
    await rig.client({ timeouts }, { pace }).readRange(rig.listing, SHARD, 0, 2 * MB, task);
    expect(task.events.filter(({ type }) => type === 'retry')).toEqual([]);
  });
});
