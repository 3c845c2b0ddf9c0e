import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { advance, EMPTY_METER, rate, stalledSeconds, timeLeft } from '../../src/jobs/meter.js';

const MB = 1_000_000;

function steady(seconds: number, bytesPerSecond: number, stepMs = 500) {
  let meter = EMPTY_METER;
  for (let at = 0; at <= seconds * 1000; at += stepMs) {
    meter = advance(meter, 'shard', (at / 1000) * bytesPerSecond, 1000 * MB, at);
  }
  return meter;
}

describe('a meter', () => {
  test('a steady stream shows its speed and the time left around it', () => {
    const meter = steady(20, 10 * MB);
    expect(rate(meter, 20_000)).toBeCloseTo(10 * MB, -4);
    const left = timeLeft(meter, 800 * MB, 20_000);
    expect(left?.low).toBeCloseTo(72, 0);
    expect(left?.high).toBeCloseTo(88, 0);
  });

  test('the speed is that of the last ten seconds, not of the whole run', () => {
    let meter = steady(60, 10 * MB);
    const sofar = 600 * MB;
    for (let at = 60_500; at <= 80_000; at += 500) {
      meter = advance(meter, 'shard', sofar + ((at - 60_000) / 1000) * MB, 1000 * MB, at);
    }
    expect(rate(meter, 80_000)).toBeCloseTo(MB, -4);
  });

  test('nothing is said about speed in the first seconds', () => {
    expect(rate(steady(2, 10 * MB), 2000)).toBeNull();
    expect(rate(EMPTY_METER, 0)).toBeNull();
  });

  test('a stall reads as zero and as its length, not as the last speed frozen', () => {
    const meter = steady(20, 10 * MB);
    expect(rate(meter, 60_000)).toBe(0);
    expect(timeLeft(meter, MB, 60_000)).toBeNull();
    expect(stalledSeconds(meter, 60_000)).toBe(40);
    expect(stalledSeconds(meter, 22_000)).toBe(0);
  });

  test('a file that starts over takes its bytes back', () => {
    let meter = advance(EMPTY_METER, 'a', 50, 100, 0);
    meter = advance(meter, 'a', 0, 100, 1000);
    expect(meter).toMatchObject({ done: 0, total: 100, moved: 0 });
  });

  test('totals are the sums over items whatever the order of events, and samples stay few', () => {
    const event = fc.record({
      item: fc.constantFrom('a', 'b', 'c'),
      done: fc.nat(1000),
      wait: fc.nat(400),
    });
    fc.assert(
      fc.property(fc.array(event, { maxLength: 300 }), (events) => {
        let meter = EMPTY_METER;
        let at = 0;
        for (const { item, done, wait } of events) {
          at += wait;
          meter = advance(meter, item, done, 1000, at);
        }
        const sum = Object.values(meter.items).reduce((total, item) => total + item.done, 0);
        expect(meter.done).toBe(sum);
        expect(meter.samples.length).toBeLessThanOrEqual(90);
      }),
    );
  });
});
