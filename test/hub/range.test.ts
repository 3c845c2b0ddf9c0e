import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { sniff } from '../../src/hub/content-sniff.js';
import { judgeRangeAnswer } from '../../src/hub/range-answer.js';
import { missingRanges, rangeHeader } from '../../src/hub/range-plan.js';

describe('the ranges that are missing', () => {
  test.each([
    [10, [], [[0, 10]]],
    [10, [[0, 4]], [[4, 10]]],
    [10, [[0, 10]], []],
    [10, [[0, 12]], []],
    [
      10,
      [
        [6, 8],
        [2, 3],
      ],
      [
        [0, 2],
        [3, 6],
        [8, 10],
      ],
    ],
    [
      10,
      [
        [0, 5],
        [3, 7],
      ],
      [[7, 10]],
    ],
    [10, [[4, 10]], [[0, 4]]],
    [0, [], []],
  ] as [number, [number, number][], [number, number][]][])(
    'of %i bytes with %j done are %j',
    (size, done, missing) => {
      const ranges = (pairs: [number, number][]) => pairs.map(([start, end]) => ({ start, end }));
      expect(missingRanges(size, ranges(done))).toEqual(ranges(missing));
    },
  );

  test('cover with those that are done every byte, never one twice, and are never empty', () => {
    const size = 64;
    const range = fc
      .tuple(fc.nat(size), fc.nat(size))
      .map(([a, b]) => ({ start: Math.min(a, b), end: Math.max(a, b) }));
    fc.assert(
      fc.property(fc.array(range, { maxLength: 6 }), (done) => {
        const times = new Array<number>(size).fill(0);
        for (const { start, end } of done) times.fill(1, start, end);
        for (const { start, end } of missingRanges(size, done)) {
          expect(start).toBeLessThan(end);
          for (let i = start; i < end; i += 1) times[i] = (times[i] ?? 0) + 1;
        }
        expect(times.every((count) => count === 1)).toBe(true);
      }),
    );
  });

  test('are asked for with an inclusive end', () => {
    expect(rangeHeader({ start: 5, end: 10 })).toBe('bytes=5-9');
  });
});

describe('an answer to bytes 100 to 199 of 500', () => {
  const judge = (status: number, changes: object = {}, start = 100) =>
    judgeRangeAnswer({ start, end: 200 }, 500, {
      status,
      contentRange: undefined,
      contentLength: undefined,
      encoded: false,
      ...changes,
    });

  test.each([
    ['the very range', 206, { contentRange: 'bytes 100-199/500' }, 'range'],
    ['the range with odd spacing', 206, { contentRange: ' bytes  100-199/500' }, 'range'],
    ['another unit', 206, { contentRange: 'items 100-199/500' }, 'nothing'],
    ['an unknown total', 206, { contentRange: 'bytes 100-199/*' }, 'range'],
    ['a shorter range', 206, { contentRange: 'bytes 100-198/500' }, 'nothing'],
    ['a compressed range', 206, { contentRange: 'bytes 100-199/500', encoded: true }, 'nothing'],
    ['the whole', 200, {}, 'nothing'],
    ['no content', 204, {}, 'nothing'],
  ])('with %s is used as %s', (_what, status, changes, use) => {
    expect(judge(status, changes).use).toBe(use);
  });

  test('that is whole is usable from the start only, and only with the size that is listed', () => {
    expect(judge(200, {}, 0)).toEqual({ use: 'whole' });
    expect(judge(200, { contentLength: '500' }, 0)).toEqual({ use: 'whole' });
    expect(judge(200, { contentLength: '499' }, 0)).toMatchObject({
      use: 'nothing',
      kind: 'wrong',
    });
    expect(judge(200, { contentLength: '80', encoded: true }, 0)).toEqual({ use: 'whole' });
    expect(judge(200)).toMatchObject({ use: 'nothing', kind: 'ignored' });
  });
});

describe('first bytes', () => {
  const header = Buffer.alloc(16);
  header.writeUInt8(0x3c); // a safetensors header of 60 bytes begins with "<"
  header.write('{"a":', 8);
  test.each([
    ['a safetensors header that begins with <', header, 'x.safetensors', 'content'],
    ['a document', Buffer.from('<!DOCTYPE html>\n<html>'), 'x.json', 'html'],
    [
      'a document after white space and a mark',
      Buffer.from('\ufeff \n<HTML lang="en">'),
      'x',
      'html',
    ],
    ['a README with markup', Buffer.from('<p align="center">'), 'README.md', 'content'],
    ['a page that is meant to be one', Buffer.from('<!doctype html>'), 'index.html', 'content'],
    ['a pointer', Buffer.from('version https://git-lfs.github.com/spec/v1'), 'x', 'lfs-pointer'],
    ['nothing', Buffer.alloc(0), 'x', 'content'],
  ])('of %s are told apart', (_what, head, path, kind) => {
    expect(sniff(head, path)).toBe(kind);
  });
});
