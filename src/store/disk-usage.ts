// What a folder takes on its volume, and what has to stay free there.

import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';

const MOST_RESERVE = 10_000_000_000;

/** A twentieth of what is to be written, at most 10 GB: below that a machine stops working well. */
export function reserveFor(peakBytes: number): number {
  return Math.min(MOST_RESERVE, Math.ceil(peakBytes / 20));
}

/** Free space that a folder with `usedBytes` in it needs to grow to `peakBytes`. */
export function neededFree(peakBytes: number, usedBytes: number): number {
  return Math.max(0, peakBytes - usedBytes + reserveFor(peakBytes));
}

/** What all files below a folder take, holes left out; 0 when there is none. */
export async function bytesBelow(folder: string): Promise<number> {
  let total = 0;
  for (const entry of await readdir(folder, { withFileTypes: true }).catch(ignoreMissing)) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) total += await bytesBelow(path);
    else if (entry.isFile()) total += taken(await stat(path).catch(ignoreGone));
  }
  return total;
}

/** Half-written files have holes; the last page of a file is not counted beyond its end. */
function taken({ size, blocks }: { size: number; blocks: number }): number {
  return Math.min(size, blocks * 512);
}

function ignoreMissing(error: NodeJS.ErrnoException): [] {
  if (error.code === 'ENOENT') return [];
  throw error;
}

function ignoreGone(error: NodeJS.ErrnoException): { size: number; blocks: number } {
  // Renamed or released while we were counting.
  if (error.code === 'ENOENT') return { size: 0, blocks: 0 };
  throw error;
}
