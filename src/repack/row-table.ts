// Tables of n-gram rows: in the checkpoint each part has codes, scales and biases apart; in the packed file a row's stand
// together, so that one read fetches it. docs/format.md has the layout.

import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import type { PackProjection, StackedTensor } from '../addon/types.js';
import { tableFileName } from '../base/paths.js';
import { asFlashmoeError, FlashmoeError } from '../base/errors.js';
import type { ExpertLayout, RowTable } from '../models/spec.js';
import type { RowTableSource, StackedSource, TablePart } from './classify.js';
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

/** What the plan was made of. */
export function tableSource({ table, experts, projections }: LayerPlan): RowTableSource {
  const { sourceBits = 0, groupSize = 0 } = projections[0] ?? {};
  const sourceOf = ({ source, offset, size, dtype }: StackedTensor): StackedSource => {
    return { shard: source, offset, size, dtype };
  };
  return {
    layer: table?.layer ?? 0,
    rows: experts,
    columns: table?.columns ?? 0,
    width: sourceBits === 0 ? null : { bits: sourceBits, groupSize, mode: 'affine' },
    parts: projections.map(({ weight, scales, biases }) => ({
      weight: sourceOf(weight),
      scales: scales && sourceOf(scales),
      biases: biases && sourceOf(biases),
    })),
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

/** Where the parts of a table lie: in whole shards, or in another packed table. */
export type TablePlaces = Pick<PackProjection, 'weight' | 'scales' | 'biases'>[];

/** Writes the table's file and syncs it. `places`: one for each part of the plan, with paths for sources. */
export async function writeTable(
  entry: LayerPlan,
  rowBytes: number,
  target: string,
  {
    places,
    onProgress,
    signal,
  }: {
    places: TablePlaces;
    onProgress: (done: number, total: number) => void;
    signal?: AbortSignal | undefined;
  },
): Promise<void> {
  const opened = new Map<string, FileHandle>();
  const { O_WRONLY, O_CREAT, O_TRUNC, O_NOFOLLOW } = constants;
  const out = await open(target, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW).catch(rethrow);
  const read = async (tensor: StackedTensor, bytes: Buffer, at: number): Promise<void> => {
    const file = opened.get(tensor.source) ?? (await open(tensor.source, 'r'));
    opened.set(tensor.source, file);
    const { bytesRead } = await file.read(bytes, 0, bytes.length, tensor.offset + at);
    if (bytesRead === bytes.length) return;
    throw new FlashmoeError('ERR_IO', `${tensor.source}: ends inside an n-gram table`);
  };
  try {
    for (const [index, part] of entry.projections.entries()) {
      const base = index * entry.experts * rowBytes;
      for (let row = 0; row < entry.experts; row += ROWS_TOGETHER) {
        signal?.throwIfAborted();
        const count = Math.min(ROWS_TOGETHER, entry.experts - row);
        const rows = Buffer.alloc(count * rowBytes);
        for (const name of ['weight', 'scales', 'biases'] as const) {
          const tensor = places[index]?.[name] ?? null;
          if (tensor === null) continue;
          const size = tensor.size / entry.experts;
          const stride = tensor.stride ?? size;
          const taken = Buffer.alloc((count - 1) * stride + size);
          await read(tensor, taken, row * stride);
          const within = part.targetOffsets[name] - base;
          for (let i = 0; i < count; i += 1) {
            taken.copy(rows, i * rowBytes + within, i * stride, i * stride + size);
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
