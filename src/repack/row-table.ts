// Tables of n-gram rows: in the checkpoint each part has codes, scales and biases apart; in the packed file a row's stand
// together, so that one read fetches it. docs/format.md has the layout.

import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import type { PackProjection } from '../addon/types.js';
import { tableFileName } from '../base/paths.js';
import { asFlashmoeError, FlashmoeError } from '../base/errors.js';
import type { ExpertLayout, RowTable } from '../models/spec.js';
import type { RowTableSource, TablePart } from './classify.js';
import { stackedTensor } from './layout.js';
import { DTYPE_BYTES } from './safetensors.js';
import type { LayerPlan } from './types.js';

/** A plan tells its files apart by number: tables have those from here on. */
const FIRST_TABLE = 10_000;
/** Rows that are brought together at once. */
const ROWS_TOGETHER = 65_536;

/** The table as a file of the plan; its layout is one row. */
export function planTable(source: RowTableSource, layouts: ExpertLayout[]): LayerPlan {
  const { layer, rows, columns, width, parts } = source;
  const [first] = parts;
  const dtype = (first?.scales ?? first?.weight)?.dtype ?? '';
  const valueBytes = DTYPE_BYTES[dtype] ?? 0;
  const codes = width === null ? columns * valueBytes : (columns * width.bits) / 8;
  const parameters = width === null ? 0 : (columns / width.groupSize) * valueBytes;
  const rowBytes = codes + 2 * parameters;
  const size = rows * parts.length * rowBytes;
  if (!Number.isSafeInteger(size) || !Number.isInteger(rowBytes)) {
    throw new FlashmoeError(
      'ERR_PLAN',
      `the n-gram table of layer ${layer} would be ${size} bytes`,
    );
  }
  const layout =
    layouts.push({ expert_size: rowBytes, expert_stride: rowBytes, components: [] }) - 1;
  const shards = parts.flatMap(({ weight, scales, biases }) =>
    [weight, scales, biases].flatMap((tensor) => tensor?.shard ?? []),
  );
  return {
    layer: FIRST_TABLE + layer,
    file: tableFileName(layer),
    size,
    layout,
    shards: [...new Set(shards)].sort(),
    experts: rows,
    projections: parts.map((part, index) =>
      packedPart(part, source, index * rows * rowBytes, [codes, parameters]),
    ),
    table: { layer, columns },
  };
}

function packedPart(
  { weight, scales, biases }: TablePart,
  { columns, width }: RowTableSource,
  at: number,
  [codes, parameters]: [codes: number, parameters: number],
): PackProjection {
  const bits = width?.bits ?? 0;
  return {
    rows: 1,
    columns,
    sourceBits: bits,
    groupSize: width?.groupSize ?? 0,
    weight: stackedTensor(weight),
    scales: scales && stackedTensor(scales),
    biases: biases && stackedTensor(biases),
    targetBits: bits,
    targetOffsets: { weight: at, scales: at + codes, biases: at + codes + parameters },
  };
}

/** How layout.json tells of it. */
export function tableManifest(
  { file, size, experts, projections, table }: LayerPlan,
  sha256: string,
): RowTable {
  const [first] = projections;
  const { sourceBits = 0, groupSize = 0 } = first ?? {};
  return {
    layer: table?.layer ?? 0,
    file,
    size,
    sha256,
    rows: experts * projections.length,
    columns: table?.columns ?? 0,
    dtype: (first?.scales ?? first?.weight)?.dtype ?? 'BF16',
    ...(sourceBits !== 0 && { bits: sourceBits, group_size: groupSize }),
  };
}

/** Where whole shards are on disk: writes the table's file and syncs it. */
export async function writeTable(
  entry: LayerPlan,
  rowBytes: number,
  target: string,
  {
    shardPath,
    onProgress,
    signal,
  }: {
    shardPath: (shard: string) => string;
    onProgress: (done: number, total: number) => void;
    signal?: AbortSignal | undefined;
  },
): Promise<void> {
  const opened = new Map<string, FileHandle>();
  const { O_WRONLY, O_CREAT, O_TRUNC, O_NOFOLLOW } = constants;
  const out = await open(target, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW).catch(rethrow);
  try {
    for (const shard of entry.shards) opened.set(shard, await open(shardPath(shard), 'r'));
    for (const [index, part] of entry.projections.entries()) {
      const base = index * entry.experts * rowBytes;
      for (let row = 0; row < entry.experts; row += ROWS_TOGETHER) {
        signal?.throwIfAborted();
        const count = Math.min(ROWS_TOGETHER, entry.experts - row);
        const rows = Buffer.alloc(count * rowBytes);
        for (const name of ['weight', 'scales', 'biases'] as const) {
          const tensor = part[name];
          if (tensor === null) continue;
          const bytes = tensor.size / entry.experts;
          const read = Buffer.alloc(count * bytes);
          const { bytesRead } = (await opened
            .get(tensor.source)
            ?.read(read, 0, read.length, tensor.offset + row * bytes)) ?? { bytesRead: 0 };
          if (bytesRead !== read.length) {
            throw new FlashmoeError('ERR_IO', `${shardPath(tensor.source)}: ends inside a tensor`);
          }
          const within = part.targetOffsets[name] - base;
          for (let i = 0; i < count; i += 1) {
            read.copy(rows, i * rowBytes + within, i * bytes, (i + 1) * bytes);
          }
        }
        await out.write(rows, 0, rows.length, base + row * rowBytes);
        onProgress(base + (row + count) * rowBytes, entry.size);
      }
    }
    await out.sync();
  } catch (error) {
    rethrow(error);
  } finally {
    for (const file of [out, ...opened.values()]) await file.close();
  }
}

function rethrow(error: unknown): never {
  throw asFlashmoeError(error);
}
