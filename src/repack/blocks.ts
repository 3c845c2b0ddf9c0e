// Blocks of finished files: what they hash to, and which bytes of which shards they were made of. Pure.

import type { StackedTensor } from '../addon/types.js';
import type { LayerPlan, PackPlan } from './types.js';

/** Of a finished file; the last one is shorter. A multiple of sha256's own 64. */
export const BLOCK_BYTES = 16 << 20;

/** blocks.json, by path relative to the model's folder: see NativeAddon.hashFile for a chain. */
export interface BlockHashes {
  format: 'flashmoe-blocks';
  version: 1;
  blockBytes: number;
  files: Record<string, string[]>;
}

/** blocks.json as text; chains by path. */
export function blocksText(chains: ReadonlyMap<string, readonly string[]>): string {
  const hashes: BlockHashes = {
    format: 'flashmoe-blocks',
    version: 1,
    blockBytes: BLOCK_BYTES,
    files: Object.fromEntries(
      [...chains].sort(([a], [b]) => (a < b ? -1 : 1)).map(([path, chain]) => [path, [...chain]]),
    ),
  };
  return `${JSON.stringify(hashes, null, 1)}\n`;
}

/** A chain of the right length for a file of `size` bytes, to know its text's length beforehand. */
export function emptyChain(size: number): string[] {
  return Array<string>(Math.max(1, Math.ceil(size / BLOCK_BYTES))).fill('0'.repeat(64));
}

/** Bytes [start, end) of a shard. */
export interface SourceRange {
  shard: string;
  start: number;
  end: number;
}

/** What bytes [start, end) of the dense file were copied from; gaps between tensors come from nowhere. */
export function denseSources(
  plan: Pick<PackPlan, 'dense'>,
  start: number,
  end: number,
): SourceRange[] {
  return plan.dense.entries.flatMap(({ shard, sourceOffset, targetOffset, size }) => {
    const [from, to] = [Math.max(start, targetOffset), Math.min(end, targetOffset + size)];
    const source = sourceOffset + from - targetOffset;
    return from < to ? [{ shard, start: source, end: source + to - from }] : [];
  });
}

/**
 * What bytes [start, end) of a layer file were made of. A projection that was copied answers byte by byte;
 * one that was requantised with the codes, scales and biases of every expert that it touches.
 */
export function layerSources(
  plan: Pick<PackPlan, 'layouts'>,
  layer: LayerPlan,
  start: number,
  end: number,
): SourceRange[] {
  const stride = plan.layouts[layer.layout]?.expert_stride ?? 0;
  const ranges: SourceRange[] = [];
  for (let expert = Math.floor(start / stride); expert * stride < end; expert += 1) {
    const [from, to] = [start - expert * stride, end - expert * stride];
    for (const projection of layer.projections) {
      const { weight, scales, biases, targetOffsets, sourceBits, targetBits } = projection;
      const parts = [
        { tensor: weight, offset: targetOffsets.weight },
        { tensor: scales, offset: targetOffsets.scales },
        { tensor: biases, offset: targetOffsets.biases },
      ].flatMap(({ tensor, offset }) => (tensor === null ? [] : [{ tensor, offset }]));
      const copied = sourceBits === targetBits;
      const touched = parts.filter(({ tensor, offset }) => {
        const size = targetSize(tensor, layer.experts, projection);
        return offset < to && offset + size > from;
      });
      if (touched.length === 0) continue;
      for (const { tensor, offset } of copied ? touched : parts) {
        const size = tensor.size / layer.experts;
        const first = copied ? Math.max(0, from - offset) : 0;
        const last = copied ? Math.min(size, to - offset) : size;
        const at = tensor.offset + expert * size;
        ranges.push({ shard: tensor.source, start: at + first, end: at + last });
      }
    }
  }
  return ranges;
}

/** Bytes that a part of one expert takes in the layer file. */
function targetSize(
  tensor: StackedTensor,
  experts: number,
  { sourceBits, targetBits, weight }: LayerPlan['projections'][number],
): number {
  const size = tensor.size / experts;
  if (sourceBits === targetBits) return size;
  // Requantised parameters are BF16 whatever they were.
  return tensor === weight
    ? (size * targetBits) / sourceBits
    : tensor.dtype === 'F32'
      ? size / 2
      : size;
}
