// Byte layout of packed files, as docs/format.md fixes it: nine components an expert in a fixed order for
// the layer files, 64-byte aligned tensors in name order for the dense file.

import type { PackProjection, StackedTensor } from '../addon/types.js';
import type { Projection } from '../models/names.js';
import type { DType, ExpertComponent, ExpertLayout } from '../models/spec.js';
import type { Width } from '../models/quantization.js';
import type { DenseSource, RoutedProjection, StackedSource } from './classify.js';
import { DTYPE_BYTES } from './safetensors.js';
import type { DenseEntry } from './types.js';

/** Memory page of Apple silicon: an expert begins on one, so that a read lands in whole pages. */
export const PAGE = 16_384;
/** A cache line, and what a GPU buffer offset must be a multiple of at most. */
export const DENSE_ALIGNMENT = 64;

export const roundUp = (value: number, to: number) => Math.ceil(value / to) * to;

/** Which projections keep their source's width, and how many bits the others get where their width is one that is narrowed. */
export interface Narrowing {
  kept: ReadonlySet<Projection>;
  bits: number;
}

/** Bits of a projection in the packed file. */
export function targetBits(projection: RoutedProjection, { kept, bits }: Narrowing): number {
  const { width, name } = projection;
  return isNarrowed(width, bits) && !kept.has(name) ? bits : (width?.bits ?? 0);
}

/** Whether codes of this width can become `bits` wide. */
export function isNarrowed(width: Width | null, bits: number): boolean {
  if (width === null || width.mode !== 'affine') return false;
  return (width.bits === 4 || width.bits === 8) && bits < width.bits && width.groupSize >= 32;
}

/** Layout of one expert; `expert_size` = sum of its components. */
export function expertLayout(
  projections: readonly RoutedProjection[],
  narrowing: Narrowing,
): ExpertLayout {
  const components: ExpertComponent[] = [];
  let offset = 0;
  const add = (component: Omit<ExpertComponent, 'offset' | 'size'>) => {
    const elements = component.shape.reduce((product, d) => product * d, 1);
    const size = elements * bytesOf(component.dtype);
    components.push({ ...component, offset, size });
    offset += size;
  };
  for (const projection of projections) {
    const { name, rows, columns, width, weight, scales, bias } = projection;
    if (width === null || scales === null) {
      add({ name: `${name}.weight`, dtype: weight.dtype as DType, shape: [rows, columns] });
      if (bias) add({ name: `${name}.bias`, dtype: bias.dtype as DType, shape: [rows] });
      continue;
    }
    const bits = targetBits(projection, narrowing);
    const group_size = width.groupSize;
    // Requantised parameters are written as BF16, copied ones stay what they were.
    const dtype = bits === width.bits ? (scales.dtype as DType) : 'BF16';
    const groups = [rows, columns / group_size];
    const words = [rows, (columns * bits) / 32];
    const mode = width.mode === 'affine' ? {} : { mode: width.mode };
    add({ name: `${name}.weight`, dtype: 'U32', shape: words, bits, group_size, ...mode });
    add({ name: `${name}.scales`, dtype, shape: groups });
    if (width.mode === 'affine') add({ name: `${name}.biases`, dtype, shape: groups });
    if (bias) add({ name: `${name}.bias`, dtype: bias.dtype as DType, shape: [rows] });
  }
  return { expert_size: offset, expert_stride: roundUp(offset, PAGE), components };
}

export function stackedTensor(tensor: StackedSource): StackedTensor {
  const { shard, offset, size, dtype } = tensor;
  return { source: shard, offset, size, dtype: dtype as StackedTensor['dtype'] };
}

/** The addon's view of one projection; sources are shard paths in the repository. */
export function packProjection(
  projection: RoutedProjection,
  layout: ExpertLayout,
  narrowing: Narrowing,
): PackProjection {
  const offsetOf = (part: string) =>
    layout.components.find(({ name }) => name === `${projection.name}.${part}`)?.offset ?? 0;
  return {
    rows: projection.rows,
    columns: projection.columns,
    sourceBits: projection.width?.bits ?? 0,
    groupSize: projection.width?.groupSize ?? 0,
    weight: stackedTensor(projection.weight),
    scales: projection.scales && stackedTensor(projection.scales),
    biases: projection.biases && stackedTensor(projection.biases),
    ...(projection.bias && { bias: stackedTensor(projection.bias) }),
    targetBits: targetBits(projection, narrowing),
    targetOffsets: {
      weight: offsetOf('weight'),
      scales: offsetOf('scales'),
      biases: offsetOf('biases'),
      ...(projection.bias && { bias: offsetOf('bias') }),
    },
  };
}

/** Entries in byte order of their names, each on an aligned offset; size of the file ends with the last tensor. */
export function denseLayout(sources: readonly DenseSource[]): {
  size: number;
  entries: DenseEntry[];
} {
  const sorted = sources
    .map((source) => ({ ...source, key: Buffer.from(source.name) }))
    .sort((a, b) => Buffer.compare(a.key, b.key));
  let end = 0;
  const entries = sorted.map(({ name, tensor, width }): DenseEntry => {
    const targetOffset = roundUp(end, DENSE_ALIGNMENT);
    end = targetOffset + tensor.size;
    return {
      name,
      shard: tensor.shard,
      sourceOffset: tensor.offset,
      targetOffset,
      size: tensor.size,
      shape: tensor.shape,
      dtype: tensor.dtype as DType,
      ...(width && { bits: width.bits, group_size: width.groupSize }),
      ...(width && width.mode !== 'affine' && { mode: width.mode }),
    };
  });
  return { size: end, entries };
}

function bytesOf(dtype: DType): number {
  return DTYPE_BYTES[dtype] ?? 0;
}
