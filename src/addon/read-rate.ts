// How fast a volume delivers experts: uncached reads of one expert's size from the model's own layer files. Writes
// nothing. This rate, not the one on the drive's box, bounds tokens per second.

import { runJob } from './load.js';
import type { NativeAddon, ReadRate } from './types.js';

export interface ReadRateTask {
  /** Layer files. */
  files: string[];
  /** Bytes of one expert in them. */
  expertBytes: number;
  depths: readonly number[];
  /** Of each depth. */
  milliseconds: number;
  /** Where the reads begin: another seed reads other places. */
  seed: number;
  /** Through the page cache, as it finds it; absent: past it. */
  cached?: boolean;
  signal: AbortSignal;
}

export interface DepthRate extends ReadRate {
  depth: number;
  bytesPerSecond: number;
}

/** Smaller files end before a queue of reads has filled, and the drive's own cache may hold them whole. */
const LEAST_BYTES = 256e6;

/** Whether files of this many bytes together say anything about their volume. */
export function isWorthMeasuring(totalBytes: number, expertBytes: number): boolean {
  return totalBytes >= LEAST_BYTES && expertBytes >= 16_384;
}

/** One depth after the other; depths at which no file is as long as a read are left out. */
export async function measureReadRates(
  addon: NativeAddon,
  task: ReadRateTask,
): Promise<DepthRate[]> {
  const { files, expertBytes: readBytes, milliseconds, cached = false, signal } = task;
  const rates: DepthRate[] = [];
  for (const [index, depth] of task.depths.entries()) {
    // Far apart, so that no depth reads what the one before has just read.
    const seed = task.seed + index * 1_000_003;
    const job = { files, readBytes, depth, milliseconds, seed, cached };
    const rate = await runJob(addon.measureReads(job), signal);
    if (rate.bytes === 0 || rate.seconds <= 0) continue;
    rates.push({ ...rate, depth, bytesPerSecond: rate.bytes / rate.seconds });
  }
  return rates;
}
