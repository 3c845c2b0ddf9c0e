// The bytes of one block made anew from the ranges of the shards that it came from. Memory holds the block and
// its sources: some tens of megabytes at most, whatever the model.

import { mkdir, open, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runJob } from '../../addon/load.js';
import type {
  ImportanceRow,
  NativeAddon,
  PackProjection,
  StackedTensor,
} from '../../addon/types.js';
import { logsOfNegatives } from '../../repack/placed-pieces.js';
import { removeOwned } from '../../base/owned-files.js';
import type { HubClient } from '../../hub/client.js';
import type { HubTask, RepoListing } from '../../hub/types.js';
import { sourcesOf, type BlockPiece } from '../../repack/blocks.js';
import type { SourceRange } from '../../repack/types.js';

type RequantisedPiece = Extract<BlockPiece, { kind: 'requantise' }>;
import { ownedScratch } from '../ownership.js';

export interface BlockTask extends HubTask {
  client: HubClient;
  listing: RepoListing;
  addon: NativeAddon;
  threads: number;
  /** Folder for what the requantiser reads and writes; the names are those of SCRATCH_NAME. */
  scratch: string;
  /** The model's own, where its plan has one. */
  calibration: string;
}

/** Bytes [start, end) of a finished file, and what was fetched for them. Nothing is written but scratch. */
export async function makeBlock(
  pieces: readonly BlockPiece[],
  start: number,
  end: number,
  task: BlockTask,
): Promise<{ bytes: Buffer; fetchedBytes: number }> {
  const { take, fetchedBytes } = await fetchSources(sourcesOf(pieces), task);
  const bytes = Buffer.alloc(end - start);
  const narrowed = new Map<PackProjection, RequantisedPiece[]>();
  for (const piece of pieces) {
    if (piece.kind === 'requantise') {
      narrowed.set(piece.projection, [...(narrowed.get(piece.projection) ?? []), piece]);
      continue;
    }
    const own = take(piece.source);
    const made = piece.kind === 'log' ? logsOfNegatives(own) : own;
    made.copy(bytes, Math.max(0, piece.target - start), Math.max(0, start - piece.target));
  }
  for (const [projection, experts] of narrowed) {
    const parts = experts.map(({ sources }) => sources.map(take));
    const made = await requantise(projection, experts, parts, task);
    let at = 0;
    for (const { offset, size } of experts.flatMap(({ targets }) => targets)) {
      const [from, to] = [Math.max(start, offset), Math.min(end, offset + size)];
      if (from < to) made.copy(bytes, from - start, at + from - offset, at + to - offset);
      at += size;
    }
  }
  return { bytes, fetchedBytes };
}

/** Fetches ranges, neighbours together; `take` gives the bytes of any of them. */
async function fetchSources(
  wanted: readonly SourceRange[],
  task: BlockTask,
): Promise<{ take: (range: SourceRange) => Buffer; fetchedBytes: number }> {
  const runs = joined(wanted).map((run) => ({ ...run, bytes: Buffer.alloc(run.end - run.start) }));
  let fetchedBytes = 0;
  let at = 0;
  const ranges = runs.map(({ shard: file, start, end }) => {
    const range = { file, start, end, at };
    at += end - start;
    return range;
  });
  const runAt = (position: number): number => ranges.findLastIndex((range) => range.at <= position);
  const sink = {
    put: (position: number, chunks: Uint8Array[]): Promise<void> => {
      const index = runAt(position);
      let to = position - (ranges[index]?.at ?? 0);
      for (const chunk of chunks) {
        runs[index]?.bytes.set(chunk, to);
        to += chunk.length;
      }
      return Promise.resolve();
    },
    arrived: (bytes: number) => (fetchedBytes += bytes),
  };
  await task.client.fetch(task.listing, ranges, sink, task);
  const take = ({ shard, start, end }: SourceRange): Buffer => {
    const run = runs.find((one) => one.shard === shard && one.start <= start && end <= one.end);
    if (run === undefined) throw new RangeError(`${shard}: ${start} to ${end} was not fetched`);
    return run.bytes.subarray(start - run.start, end - run.start);
  };
  return { take, fetchedBytes };
}

/** Sorted, without overlaps, neighbours as one. Pure. */
export function joined(ranges: readonly SourceRange[]): SourceRange[] {
  const sorted = [...ranges].sort((a, b) =>
    a.shard === b.shard ? a.start - b.start : a.shard < b.shard ? -1 : 1,
  );
  const runs: SourceRange[] = [];
  for (const range of sorted) {
    const last = runs.at(-1);
    if (last?.shard === range.shard && range.start <= last.end) {
      last.end = Math.max(last.end, range.end);
    } else runs.push({ ...range });
  }
  return runs;
}

/** One projection of some experts: of each weight, scales and biases, one behind the other. */
async function requantise(
  projection: PackProjection,
  experts: readonly RequantisedPiece[],
  parts: readonly (readonly Buffer[])[],
  { addon, threads, scratch, calibration, signal }: BlockTask,
): Promise<Buffer> {
  const [source, target] = [join(scratch, 'repair.source'), join(scratch, 'repair.target')];
  await mkdir(scratch, { recursive: true });
  // As the shards have them: all weights, then all scales, then all biases.
  const stacked = [0, 1, 2].map((part) => Buffer.concat(parts.map((of) => of[part] ?? NOTHING)));
  const { importance, columns } = projection;
  const rows = importance && (await rowsOf(calibration, importance, columns, experts));
  await writeFile(source, Buffer.concat([...stacked, ...(rows ?? [])]));
  const [weight = 0, scales = 0, biases = 0] = stacked.map(({ length }) => length);
  const [weightOut = 0, scalesOut = 0, biasesOut = 0] = (experts[0]?.targets ?? []).map(
    ({ size }) => size,
  );
  const at = <T extends StackedTensor | null>(tensor: T, offset: number, size: number): T =>
    tensor && { ...tensor, source, offset, size };
  const expertStride = weightOut + scalesOut + biasesOut;
  const job = {
    ...{ target, threads, experts: experts.length, expertStride, method: 'search' as const },
    projections: [
      {
        ...projection,
        weight: at(projection.weight, 0, weight),
        scales: at(projection.scales, weight, scales),
        biases: at(projection.biases, weight + scales, biases),
        ...(importance && {
          importance: { source, offset: weight + scales + biases, stride: 2 * columns },
        }),
        targetOffsets: { weight: 0, scales: weightOut, biases: weightOut + scalesOut },
      },
    ],
  };
  await runJob(
    addon.packLayer(job, () => undefined),
    signal,
  );
  const made = await readFile(target);
  for (const file of [source, target]) await removeOwned(ownedScratch(scratch), file);
  return made;
}

/** What the columns of each expert count, as the calibration has it. */
async function rowsOf(
  path: string,
  { offset, stride }: ImportanceRow,
  columns: number,
  experts: readonly RequantisedPiece[],
): Promise<Buffer[]> {
  const file = await open(path, 'r');
  try {
    return await Promise.all(
      experts.map(async ({ expert }) => {
        const row = Buffer.alloc(2 * columns);
        await file.read(row, 0, row.length, offset + expert * stride);
        return row;
      }),
    );
  } finally {
    await file.close();
  }
}

const NOTHING = Buffer.alloc(0);
