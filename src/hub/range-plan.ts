// Which bytes of a file are still to be fetched. Pure; nothing here knows a socket or a disk.

import type { ByteRange } from './types.js';

export type { ByteRange } from './types.js';

/** The gaps between `done` (in any order, overlaps allowed) in a file of `size` bytes, in order. */
export function missingRanges(size: number, done: readonly ByteRange[]): ByteRange[] {
  const missing: ByteRange[] = [];
  let reached = 0;
  for (const { start, end } of [...done].sort((a, b) => a.start - b.start)) {
    if (start > reached) missing.push({ start: reached, end: Math.min(start, size) });
    reached = Math.max(reached, end);
    if (reached >= size) return missing;
  }
  if (reached < size) missing.push({ start: reached, end: size });
  return missing;
}

/** The Range header's value; its end is inclusive. */
export function rangeHeader({ start, end }: ByteRange): string {
  return `bytes=${start}-${end - 1}`;
}
