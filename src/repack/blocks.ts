// Blocks of finished files: what they hash to, and which bytes of which shards they were made of. Pure.

import { FlashmoeError } from '../base/errors.js';
import type { PackProjection, StackedTensor } from '../addon/types.js';
import { expertPlaces } from './expert-places.js';
import { type PlacedPiece, placedPieces } from './placed-pieces.js';
import type { LayerPlan, PackPlan, SourceRange } from './types.js';

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

/** How some bytes of a finished file came to be. `target` and `offset` are places in that file. */
export type BlockPiece =
  | PlacedPiece
  /** One projection of one expert; `sources` and `targets` are its weight, scales and biases. */
  | {
      kind: 'requantise';
      projection: PackProjection;
      expert: number;
      sources: SourceRange[];
      targets: { offset: number; size: number }[];
    };

/** What bytes [start, end) of the dense file were copied from; gaps between tensors are zeros. */
export function densePieces(
  plan: Pick<PackPlan, 'dense'>,
  start: number,
  end: number,
): BlockPiece[] {
  const { file, size: length, entries, conversions = [] } = plan.dense;
  const made = conversions.flatMap((conversion) => {
    const pieces = placedPieces(conversion, length, start, end);
    if (pieces === null) throw notByBlocks(file);
    return pieces;
  });
  const copied = entries.filter((entry) => entry.made === undefined);
  const own = copied.flatMap(({ shard, sourceOffset, targetOffset, size }): BlockPiece[] => {
    const [from, to] = [Math.max(start, targetOffset), Math.min(end, targetOffset + size)];
    if (from >= to) return [];
    const source = sourceOffset + from - targetOffset;
    return [
      { kind: 'copy', source: { shard, start: source, end: source + to - from }, target: from },
    ];
  });
  return [...own, ...made];
}

/**
 * What bytes [start, end) of a layer file were made of; the rest is zeros. A projection that was copied
 * answers byte by byte; one that was requantised with all of it, for every expert that it touches.
 */
export function layerPieces(
  plan: Pick<PackPlan, 'layouts'>,
  layer: LayerPlan,
  start: number,
  end: number,
): BlockPiece[] {
  if (layer.conversions !== undefined) {
    const stride = plan.layouts[layer.layout]?.expert_stride ?? 0;
    return layer.conversions.flatMap((conversion) => {
      const pieces = placedPieces(conversion, stride, start, end);
      if (pieces === null) throw notByBlocks(layer.file);
      return pieces;
    });
  }
  if (layer.table !== undefined) {
    return tablePieces(layer, plan.layouts[layer.layout]?.expert_stride ?? 0, start, end);
  }
  const pieces: BlockPiece[] = [];
  for (const { expert, offset: base, stride, projections } of expertPlaces(plan, layer)) {
    if (base + stride <= start || base >= end) continue;
    for (const projection of projections) {
      const { weight, scales, biases, bias, targetOffsets, sourceBits, targetBits } = projection;
      const parts = [
        { tensor: weight, offset: base + targetOffsets.weight },
        { tensor: scales, offset: base + targetOffsets.scales },
        { tensor: biases, offset: base + targetOffsets.biases },
        { tensor: bias ?? null, offset: base + (targetOffsets.bias ?? 0) },
      ].flatMap(({ tensor, offset }) => {
        if (tensor === null) return [];
        const bytes = tensor.size / layer.experts;
        const at = tensor.offset + expert * bytes;
        const source: SourceRange = { shard: tensor.source, start: at, end: at + bytes };
        const isCopied = tensor === bias;
        const size = isCopied ? bytes : targetSize(tensor, layer.experts, projection);
        return [{ source, target: { offset, size }, isCopied }];
      });
      const touched = parts.filter(
        ({ target: { offset, size } }) => offset < end && offset + size > start,
      );
      if (touched.length === 0) continue;
      const isNarrowed = sourceBits !== targetBits;
      if (isNarrowed && touched.some(({ isCopied }) => !isCopied)) {
        const made = parts.filter(({ isCopied }) => !isCopied);
        const [sources, targets] = [made.map((p) => p.source), made.map((p) => p.target)];
        pieces.push({ kind: 'requantise', projection, expert, sources, targets });
      }
      for (const { source, target, isCopied } of touched) {
        if (isNarrowed && !isCopied) continue;
        const [from, to] = [
          Math.max(start, target.offset),
          Math.min(end, target.offset + target.size),
        ];
        const first = source.start + from - target.offset;
        pieces.push({
          kind: 'copy',
          source: { shard: source.shard, start: first, end: first + to - from },
          target: from,
        });
      }
    }
  }
  return pieces;
}

/** The same of a table of n-gram rows, whose parts follow each other. */
function tablePieces(layer: LayerPlan, stride: number, start: number, end: number): BlockPiece[] {
  const pieces: BlockPiece[] = [];
  for (let index = Math.floor(start / stride); index * stride < end; index += 1) {
    const row = index % layer.experts;
    const part = layer.projections[Math.floor(index / layer.experts)];
    if (part === undefined) break;
    for (const name of ['weight', 'scales', 'biases'] as const) {
      const tensor = part[name];
      if (tensor === null) continue;
      const bytes = tensor.size / layer.experts;
      const target = part.targetOffsets[name] + row * stride;
      const [from, to] = [Math.max(start, target), Math.min(end, target + bytes)];
      if (from >= to) continue;
      const first = tensor.offset + row * bytes + from - target;
      pieces.push({
        kind: 'copy',
        source: { shard: tensor.source, start: first, end: first + to - from },
        target: from,
      });
    }
  }
  return pieces;
}

function notByBlocks(file: string): FlashmoeError {
  return new FlashmoeError(
    'ERR_MODEL_DAMAGED',
    `${file} was quantised from an original checkpoint and can only be made anew as a whole`,
    { hint: 'run `flashmoe setup` again, it makes what is damaged anew', subject: file },
  );
}

export function sourcesOf(pieces: readonly BlockPiece[]): SourceRange[] {
  return pieces.flatMap((piece) => (piece.kind === 'requantise' ? piece.sources : [piece.source]));
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
