// Where bytes of a conversion that changes none of them, or only takes logarithms, end up in a finished file. Pure.

import type { Conversion, SourceRange } from './types.js';

/** Bytes as they are, or ln(-x) of F32 numbers, which may reach out of what was asked for. */
export interface PlacedPiece {
  kind: 'copy' | 'log';
  source: SourceRange;
  /** In the finished file. */
  target: number;
}

const FLOAT_BYTES = 4;

/**
 * What bytes [start, end) of the file get from `conversion`, whose slices lie `stride` apart; null where values were made that no
 * range of a shard alone gives again.
 */
export function placedPieces(
  conversion: Conversion,
  stride: number,
  start: number,
  end: number,
): PlacedPiece[] | null {
  const { pieces, slice, unit = slice, encoding, plain, ways } = conversion;
  const isLog = encoding === 'F32' && plain?.logOfNegative === true;
  const total = pieces.reduce((sum, { size }) => sum + size, 0);
  const found: PlacedPiece[] = [];
  for (let at = 0; at < total; at += unit) {
    const [index, turn] = [Math.floor(at / slice), Math.round((at % slice) / unit)];
    const way = ways[turn % ways.length];
    const target =
      index * stride + (way?.offsets.weight ?? 0) + Math.floor(turn / ways.length) * unit;
    const [from, to] = [Math.max(start, target), Math.min(end, target + unit)];
    if (from >= to) continue;
    if (encoding !== null && !isLog) return null;
    // Whole numbers only: a block may end inside one.
    const [first, last] = isLog ? [target, target + unit] : [from, to];
    for (const { source, offset } of sourcesOf(conversion, at + first - target, last - first)) {
      found.push({ kind: isLog ? 'log' : 'copy', source, target: first + offset });
    }
  }
  return found;
}

/** Ranges of shards that make `size` bytes of the whole from `at` on, and where each begins in them. */
function sourcesOf(
  { pieces }: Conversion,
  at: number,
  size: number,
): { source: SourceRange; offset: number }[] {
  return pieces.flatMap(({ shard, offset, size: own, at: begin }) => {
    const [from, to] = [Math.max(at, begin), Math.min(at + size, begin + own)];
    if (from >= to) return [];
    const start = offset + from - begin;
    return [{ source: { shard, start, end: start + to - from }, offset: from - at }];
  });
}

/** ln(-x) of each F32. */
export function logsOfNegatives(bytes: Buffer): Buffer {
  const made = Buffer.alloc(bytes.length);
  for (let at = 0; at + FLOAT_BYTES <= bytes.length; at += FLOAT_BYTES) {
    made.writeFloatLE(Math.log(-bytes.readFloatLE(at)), at);
  }
  return made;
}
