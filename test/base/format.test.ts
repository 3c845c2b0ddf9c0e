import { describe, expect, test } from 'vitest';
import {
  formatBinaryBytes,
  formatBytes,
  formatBytesBoth,
  formatDuration,
  formatDurationRange,
  formatExact,
} from '../../src/base/format.js';

describe('numbers as people read them', () => {
  test.each([
    [0, '0 bytes'],
    [999, '999 bytes'],
    [1000, '1.00 kB'],
    [999_999, '1.00 MB'],
    [999_960_000, '1.00 GB'],
    [4_850_000_000, '4.85 GB'],
    [19_510_000_000, '19.5 GB'],
    [223_014_297_600, '223 GB'],
  ])('%d bytes read as %s', (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });

  test('sizes a user checks against df are given in both units', () => {
    expect(formatBytesBoth(223_014_297_600)).toBe('223 GB (208 GiB)');
    expect(formatBinaryBytes(7_077_888)).toBe('6.75 MiB');
  });

  test('exact bytes keep every digit', () => {
    expect(formatExact(223_014_297_600)).toBe('223,014,297,600');
    expect(formatExact(12)).toBe('12');
  });

  test.each([
    [0.4, '0 s'],
    [89, '89 s'],
    [90, '2 min'],
    [3 * 3600 + 20 * 60, '3 h 20 min'],
    [5400, '1 h 30 min'],
    [52 * 3600, '2 d 4 h'],
  ])('%d seconds read as %s', (seconds, text) => {
    expect(formatDuration(seconds)).toBe(text);
  });

  test('a range whose ends read the same is one figure', () => {
    expect(formatDurationRange(3, 3.2)).toBe('3 s');
    expect(formatDurationRange(10_800, 19_800)).toBe('3 h to 5 h 30 min');
  });
});
