// Fluent nonsense has signatures. Pure: figures of a generation in, a complaint or null out.

import { formatBytes } from '../base/format.js';

/** No volume, striped or not, reads single experts faster; figures above it mean that nothing was read. */
const FASTEST_DISK = 32e9;
/** No memory of one machine delivers more. */
const FASTEST_MEMORY = 1e12;
/** Of the reads that memory could not hold if experts were chosen evenly: neighbouring tokens share some. */
const LEAST_MISSES = 0.5;
/** Rounding of clocks on short answers. */
const TOLERANCE = 1.25;

export interface RunFigures {
  /** Tokens decoded one by one; the first of an answer comes from the prompt's own pass. */
  decodedTokens: number;
  decodeSeconds: number;
  prefillSeconds: number;
  /** Bytes of the experts that were computed in the whole generation, read or in memory already. */
  expertBytesUsed: number;
  /** Bytes that one token's routed experts have. */
  expertBytesPerToken: number;
  /** Of all experts on disk together. */
  expertsBytes: number;
  memoryBytes: number;
  /** Measured uncached; null when nobody measured. */
  diskBytesPerSecond: number | null;
}

/** A sentence about what cannot be, or null. */
export function checkFigures(figures: RunFigures): string | null {
  const { decodedTokens, expertBytesUsed, expertBytesPerToken } = figures;
  const needed = decodedTokens * expertBytesPerToken;
  if (expertBytesUsed < needed) {
    return (
      `its ${decodedTokens} tokens need ${formatBytes(needed)} of experts, only ` +
      `${formatBytes(expertBytesUsed)} were computed with: experts were left out`
    );
  }
  if (decodedTokens === 0 || figures.decodeSeconds <= 0) return null;
  const rate = decodedTokens / figures.decodeSeconds;
  const bound = fastestRate(figures);
  if (rate <= bound * TOLERANCE) return null;
  return `${rate.toFixed(1)} tokens/s is faster than the disk allows (${bound.toFixed(1)}): reads did not happen`;
}

/** Tokens a second when what memory cannot hold comes from the disk: at the rate measured, else at that of any disk. */
export function fastestRate(figures: RunFigures): number {
  const { expertBytesPerToken, expertsBytes, memoryBytes, diskBytesPerSecond } = figures;
  if (expertBytesPerToken === 0) return Infinity;
  const missShare = expertsBytes === 0 ? 0 : Math.max(0, 1 - memoryBytes / expertsBytes);
  const fromMemory = expertBytesPerToken / FASTEST_MEMORY;
  const fromDisk =
    diskBytesPerSecond === null
      ? (expertBytesPerToken * missShare) / FASTEST_DISK
      : (expertBytesPerToken * missShare * LEAST_MISSES) / diskBytesPerSecond;
  return 1 / (fromMemory + fromDisk);
}

/** Longest unit that counts as a loop, and how often it must stand at the end. */
const LONGEST_UNIT = 24;
const REPEATS = 6;
const SHORTEST_LOOP = 24;

/** True when a sequence ends in one unit over and over: ids of tokens, or the characters of an answer. */
export function endsInLoop(items: readonly (number | string)[]): boolean {
  for (let unit = 1; unit <= LONGEST_UNIT; unit += 1) {
    const span = Math.max(unit * REPEATS, SHORTEST_LOOP);
    if (span > items.length) continue;
    const tail = items.slice(-span);
    if (tail.every((item, index) => index < unit || item === tail[index - unit])) return true;
  }
  return false;
}
