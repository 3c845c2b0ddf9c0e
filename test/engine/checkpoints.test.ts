// Where states are marked, for models whose recurrent state is small, large, or not there.

import { expect, it } from 'vitest';
import { checkpoints } from '../../src/engine/checkpoints.js';

const MB = 2 ** 20;
const LENGTH = 18_911;
/** Behind the tools, the first message, where the next question departs, the last message. */
const TURNS = [16_084, 18_200, 18_650, 18_900];

it.each([0.43 * MB, 7.9 * MB])('lie at most 256 tokens apart where one has %d bytes', (bytes) => {
  const marks = checkpoints(LENGTH, 0, TURNS, bytes).sort((a, b) => a - b);
  const gaps = marks.map((mark, i) => mark - (marks[i - 1] ?? 0));
  expect(Math.max(...gaps)).toBeLessThanOrEqual(256);
  for (const turn of TURNS) expect(marks).toContain(turn);
});

it('keep what is worth most where one has 195 MB, within the memory for them', () => {
  const marks = checkpoints(LENGTH, 0, TURNS, 195 * MB);
  expect(marks).toEqual(TURNS);
  // Of a prompt with one message only, the rest goes to its length.
  expect(checkpoints(LENGTH, 0, [18_900], 195 * MB)).toEqual([18_900, 4096, 8192, 12_288]);
  expect(checkpoints(LENGTH, 12_000, [18_900], 195 * MB)).toEqual([18_900, 12_288, 16_384]);
});

it('are the turns alone where caches can be cut anywhere', () => {
  expect(checkpoints(LENGTH, 17_000, TURNS, 0)).toEqual(TURNS.slice(1));
});
