import { describe, expect, it } from 'vitest';
import {
  endsInLoop,
  fastestRate,
  checkFigures,
  type RunFigures,
} from '../../src/check/check-figures.js';

const GB = 1e9;

// The 397B at four bits on a machine with 48 GB: 217 GB of experts, 4.25 GB for a token.
const HONEST: RunFigures = {
  decodedTokens: 20,
  decodeSeconds: 5,
  prefillSeconds: 2,
  expertBytesUsed: 100 * GB,
  expertBytesPerToken: 4.25 * GB,
  expertsBytes: 217 * GB,
  memoryBytes: 48 * GB,
  diskBytesPerSecond: null,
};

describe('checkFigures', () => {
  it.each<[string, Partial<RunFigures>, RegExp | null]>([
    ['four tokens a second from a fast disk', {}, null],
    ['fewer bytes than the experts have', { expertBytesUsed: 80 * GB }, /experts were left out/],
    ['no byte at all', { expertBytesUsed: 0 }, /only 0 bytes were computed with/],
    ['a hundred tokens a second', { decodeSeconds: 0.2 }, /faster than the disk allows/],
    ['four tokens a second from a disk of 3 GB/s', { diskBytesPerSecond: 3 * GB }, /faster than/],
    [
      'two tokens in a second from a disk of 3 GB/s, when neighbours share experts',
      { diskBytesPerSecond: 3 * GB, decodeSeconds: 10 },
      null,
    ],
    [
      'one token in 1.2 s from a disk of 3 GB/s',
      { diskBytesPerSecond: 3 * GB, decodeSeconds: 24 },
      null,
    ],
    [
      'any rate when all experts fit in memory',
      { memoryBytes: 512 * GB, decodeSeconds: 0.5 },
      null,
    ],
    [
      'an answer of one token, which needs no decoding',
      { decodedTokens: 0, expertBytesUsed: 0 },
      null,
    ],
    ['a model without routed experts', { expertBytesPerToken: 0, decodeSeconds: 1e-6 }, null],
  ])('%s', (_, change, complaint) => {
    const verdict = checkFigures({ ...HONEST, ...change });
    if (complaint === null) expect(verdict).toBeNull();
    else expect(verdict).toMatch(complaint);
  });

  it('bounds the rate by what memory cannot hold', () => {
    const half = { ...HONEST, memoryBytes: HONEST.expertsBytes / 2, diskBytesPerSecond: 4.25 * GB };
    // A quarter of each token's bytes, half of what even choice would miss, from a disk that delivers one token's
    // bytes a second.
    expect(fastestRate(half)).toBeCloseTo(4, 0);
    expect(fastestRate({ ...half, diskBytesPerSecond: null })).toBeGreaterThan(10);
  });
});

describe('endsInLoop', () => {
  it.each<[string, (number | string)[], boolean]>([
    ['one token over and over', Array<number>(30).fill(7), true],
    ['a phrase over and over', [...'so it goes. '.repeat(8)], true],
    ['a loop after a sensible beginning', [...'The answer is 4. ', ...'!'.repeat(24)], true],
    ['a number with repeated digits', [...'The result is 1000000.'], false],
    ['a line of dashes in a table', [...'| a | b |\n|-------|-----|'], false],
    ['ordinary text', [...'Paris is the capital of France, and of much else besides.'], false],
    ['a short answer', [...'aaaa'], false],
    ['nothing', [], false],
  ])('%s', (_, items, loops) => {
    expect(endsInLoop(items)).toBe(loops);
  });
});
