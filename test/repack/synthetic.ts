// Checkpoints made of headers alone: the shards a converter would write for a config, with real header bytes and
// no weights, so that hundreds of gigabytes can be planned in a test.

import { parametersOf } from '../../src/models/parameters.js';
import { readModelSpec } from '../../src/models/registry.js';
import type { ModelSpec } from '../../src/models/spec.js';
import type { ShardSource } from '../../src/repack/inventory.js';

export interface Declared {
  name: string;
  dtype: string;
  shape: number[];
}

const BYTES: Record<string, number> = { U32: 4, BF16: 2, F16: 2, F32: 4, U8: 1, I64: 8 };
/** A converter's shards end before the tensor that would make them larger. */
const MAX_SHARD = 5 * 1024 ** 3;

export interface Widths {
  prefix?: string;
  /** Bits of a linear, 0 = plain. */
  bits(module: string): number;
  groupSize?: number;
  params?: 'BF16' | 'F16' | 'F32';
  /** Modules whose codes are of mxfp4. */
  isMxfp4?: (module: string) => boolean;
  /** Of each part of an n-gram table, whose groups are of 32. */
  tableRows?: number;
}

export function bytesOf({ dtype, shape }: Declared): number {
  return shape.reduce((product, d) => product * d, BYTES[dtype] ?? 0);
}

/** Every tensor a config needs, layer by layer. */
export function declare(spec: ModelSpec, widths: Widths): Declared[] {
  const { linears, plains, routed, tables } = parametersOf(spec);
  const { params = 'BF16', prefix = '', isMxfp4 = () => false, tableRows = 0 } = widths;
  const triple = (
    module: string,
    shape: number[],
    groupSize = isMxfp4(module) ? 32 : (widths.groupSize ?? 64),
  ): Declared[] => {
    const bits = widths.bits(module);
    const lead = shape.slice(0, -1);
    const columns = shape.at(-1) ?? 0;
    const name = prefix + module;
    if (bits === 0) return [{ name: `${name}.weight`, dtype: params, shape }];
    const codes = { name: `${name}.weight`, dtype: 'U32', shape: [...lead, (columns * bits) / 32] };
    if (isMxfp4(module)) {
      return [codes, { name: `${name}.scales`, dtype: 'U8', shape: [...lead, columns / 32] }];
    }
    return [
      codes,
      { name: `${name}.scales`, dtype: params, shape: [...lead, columns / groupSize] },
      { name: `${name}.biases`, dtype: params, shape: [...lead, columns / groupSize] },
    ];
  };
  const all = [
    ...linears.flatMap(({ module, lead, rows, columns, bias }) => [
      ...triple(module, [...lead, rows, columns]),
      ...(bias ? [{ name: `${prefix}${module}.bias`, dtype: params, shape: [rows] }] : []),
    ]),
    ...tables.flatMap(({ module, parts, columns }) =>
      Array.from({ length: parts }, (_, i) =>
        triple(`${module}_${i}`, [tableRows, columns], 32),
      ).flat(),
    ),
    ...plains.map(({ name, shape, isInteger = false }) => {
      if (isInteger) return { name: prefix + name, dtype: 'I64', shape };
      const isF32 = name.endsWith('A_log') || name.endsWith('e_score_correction_bias');
      return { name: prefix + name, dtype: isF32 ? 'F32' : params, shape };
    }),
    ...routed.flatMap(({ layer, experts: e, hiddenSize: h, intermediateSize: i, bias }) => {
      const base = `model.layers.${layer}.mlp.switch_mlp`;
      return [
        ...triple(`${base}.gate_proj`, [e, i, h]),
        ...triple(`${base}.up_proj`, [e, i, h]),
        ...triple(`${base}.down_proj`, [e, h, i]),
        ...(bias
          ? [i, i, h].map((rows, at) => {
              const name = `${prefix}${base}.${['gate_proj', 'up_proj', 'down_proj'][at]}.bias`;
              return { name, dtype: params, shape: [e, rows] };
            })
          : []),
      ];
    }),
  ];
  const layerOf = (name: string) => {
    const match = /layers\.(\d+)\./.exec(name);
    if (match) return Number(match[1]);
    return name.includes('embed_tokens') ? -1 : Infinity;
  };
  return all.toSorted((a, b) => Math.sign(layerOf(a.name) - layerOf(b.name)) || 0);
}

/** Tensors dealt into shards in their order. */
export function deal(tensors: Declared[], maxBytes = MAX_SHARD): Declared[][] {
  const shards: Declared[][] = [[]];
  let size = 0;
  for (const tensor of tensors) {
    const bytes = bytesOf(tensor);
    if (size + bytes > maxBytes && size > 0) {
      shards.push([]);
      size = 0;
    }
    shards.at(-1)?.push(tensor);
    size += bytes;
  }
  return shards;
}

export function headerBytes(tensors: Declared[]): Uint8Array {
  let end = 0;
  const header: Record<string, unknown> = { __metadata__: { format: 'mlx' } };
  for (const tensor of tensors) {
    const begin = end;
    end += bytesOf(tensor);
    header[tensor.name] = { dtype: tensor.dtype, shape: tensor.shape, data_offsets: [begin, end] };
  }
  return new TextEncoder().encode(JSON.stringify(header));
}

/** Shards whose header can be read; a read beyond it throws. */
export function shardSources(shards: Declared[][]): ShardSource[] {
  const count = String(shards.length).padStart(5, '0');
  return shards.map((tensors, i) => {
    const header = headerBytes(tensors);
    const prefix = new Uint8Array(8);
    new DataView(prefix.buffer).setBigUint64(0, BigInt(header.length), true);
    const file = Buffer.concat([prefix, header]);
    const data = tensors.reduce((sum, tensor) => sum + bytesOf(tensor), 0);
    return {
      path: `model-${String(i + 1).padStart(5, '0')}-of-${count}.safetensors`,
      size: file.length + data,
      sha256: String(i).padStart(64, '0'),
      read: (start, length) => {
        if (start + length > file.length) throw new Error('only the header is there');
        return Promise.resolve(file.subarray(start, start + length));
      },
    };
  });
}

export function specOf(config: Record<string, unknown>): ModelSpec {
  return readModelSpec(config, new Set());
}
