import { describe, expect, test } from 'vitest';
import {
  firstCount,
  MOST_CONNECTIONS,
  nextCount,
  type ConnectionCount,
} from '../../src/hub/connections.js';

/** Counts of stretches in a row, each with what `rateAt` gives for the count at hand. */
function counts(
  stretches: number,
  rateAt: (count: number) => number,
  failuresAt: (stretch: number) => number = () => 0,
  most = MOST_CONNECTIONS,
): number[] {
  let connections = firstCount(most);
  const seen = [connections.count];
  for (let stretch = 1; stretch <= stretches; stretch += 1) {
    const [rate, failures] = [rateAt(connections.count), failuresAt(stretch)];
    connections = nextCount(connections, { rate, failures }, most);
    seen.push(connections.count);
  }
  return seen;
}

describe('the number of connections', () => {
  const known: ConnectionCount = { count: 8, rateBefore: 100, rest: 0 };
  test.each([
    ['grows by two at first, whatever came in', firstCount(16), 0, 0, 6],
    ['grows on while a step brings a twentieth more', known, 105, 0, 10],
    ['takes a step back that brought less than that', known, 104, 0, 6],
    ['stays while it rests', { ...known, rest: 3 }, 1e9, 0, 8],
    ['is halved by a failure', known, 1e9, 1, 4],
    ['is halved by a failure while it rests, too', { ...known, rest: 3 }, 1e9, 2, 4],
    ['never falls below one', { count: 1, rateBefore: null, rest: 0 }, 0, 5, 1],
    ['does not step back below one', { count: 2, rateBefore: 100, rest: 0 }, 0, 0, 1],
    ['never exceeds the most', { count: 15, rateBefore: 100, rest: 0 }, 200, 0, 16],
    ['stays at the most', { count: 16, rateBefore: 100, rest: 0 }, 200, 0, 16],
  ] as [string, ConnectionCount, number, number, number][])(
    '%s',
    (_, before, rate, failures, expected) => {
      expect(nextCount(before, { rate, failures }, 16).count).toBe(expected);
    },
  );

  test('reaches sixteen on a line where each connection has a rate of its own', () => {
    expect(counts(6, (count) => count)).toEqual([4, 6, 8, 10, 12, 14, 16]);
  });

  test('comes back to four on a line that four fill, and looks again after a rest', () => {
    const seen = counts(40, () => 100);
    expect(seen.slice(0, 3)).toEqual([4, 6, 4]);
    expect(seen.filter((count) => count > 4)).toHaveLength(3);
    expect(Math.max(...seen)).toBe(6);
  });

  test('settles within one step of what fills the line', () => {
    const seen = counts(60, (count) => Math.min(count, 11));
    expect(seen.slice(10).every((count) => count >= 10 && count <= 14)).toBe(true);
  });

  test('falls to one in a storm of failures and recovers when it is over', () => {
    const seen = counts(
      60,
      (count) => count,
      (stretch) => (stretch <= 4 ? 3 : 0),
    );
    expect(seen.slice(0, 5)).toEqual([4, 2, 1, 1, 1]);
    expect(seen.at(-1)).toBe(MOST_CONNECTIONS);
  });

  test('keeps to a smaller most from the start', () => {
    expect(Math.max(...counts(20, (count) => count, undefined, 3))).toBe(3);
  });
});
