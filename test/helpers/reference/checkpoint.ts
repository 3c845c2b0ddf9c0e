// A checkpoint with random weights for any config.json: shards as a conversion writes them, and what their codes stand for.

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { manifestName } from '../../../src/models/names.js';
import { parametersOf } from '../../../src/models/parameters.js';
import { readModelSpec } from '../../../src/models/registry.js';
import type { ModelSpec } from '../../../src/models/spec.js';

/** Values of a tensor in row-major order, by manifest name without `.weight`. */
export type Values = ReadonlyMap<string, Float64Array>;

export interface Geometry {
  config: Record<string, unknown>;
  /** Of codes; 0: plain. */
  bits: (module: string) => number;
  groupSize: number;
  /** Modules whose codes are of mxfp4. */
  isMxfp4?: (module: string) => boolean;
  prefix?: string;
  /** Projections of latent attention stored in two halves. */
  isSplit?: boolean;
}

export interface Checkpoint {
  spec: ModelSpec;
  values: Values;
  /** Of n-gram tables: rows of each part. */
  tableRows: number;
}

interface Tensor {
  name: string;
  dtype: string;
  shape: number[];
  bytes: Uint8Array;
}

const TABLE_ROWS = 40;
const E2M1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6];

/** Mulberry32: the same numbers everywhere. */
function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Writes config.json and two shards to `folder`. */
export async function writeCheckpoint(
  folder: string,
  { config, bits, groupSize, isMxfp4 = () => false, prefix = '', isSplit = false }: Geometry,
  seed: number,
): Promise<Checkpoint> {
  const next = random(seed);
  const names = isSplit ? new Set(splitNames(config)) : new Set<string>();
  const spec = readModelSpec(config, names);
  const { linears, plains, routed, tables } = parametersOf(spec);
  const tensors: Tensor[] = [];
  const values = new Map<string, Float64Array>();

  const plain = (name: string, shape: number[], dtype: 'BF16' | 'F32', of: () => number): void => {
    const count = shape.reduce((product, d) => product * d, 1);
    const numbers = Float64Array.from({ length: count }, () =>
      dtype === 'BF16' ? toBf16(of()) : Math.fround(of()),
    );
    values.set(name.replace(/\.weight$/, ''), numbers);
    const bytes =
      dtype === 'BF16' ? bf16Bytes(numbers) : new Uint8Array(Float32Array.from(numbers).buffer);
    tensors.push({ name: prefix + name, dtype, shape, bytes });
  };
  const integers = (name: string, numbers: number[]): void => {
    values.set(name, Float64Array.from(numbers));
    const bytes = new Uint8Array(BigInt64Array.from(numbers, BigInt).buffer);
    tensors.push({ name: prefix + name, dtype: 'I64', shape: [numbers.length], bytes });
  };
  const linear = (module: string, shape: number[], width: number): void => {
    const columns = shape.at(-1) ?? 0;
    const spread = (/\.(gate|router)$/.test(module) ? 5 : 3) / Math.sqrt(columns);
    if (width === 0) {
      plain(`${module}.weight`, shape, 'BF16', () => (next() - 0.5) * spread);
      return;
    }
    const count = shape.reduce((product, d) => product * d, 1);
    const group = isMxfp4(module) ? 32 : groupSize;
    const codes = Uint8Array.from({ length: count }, () => Math.floor(next() * 2 ** width));
    const numbers = new Float64Array(count);
    const [scales, biases] = [new Float64Array(count / group), new Float64Array(count / group)];
    for (let i = 0; i < count / group; i += 1) {
      if (isMxfp4(module)) {
        scales[i] = Math.round(Math.log2(spread / 6)) + Math.floor(next() * 2);
      } else {
        const scale = (spread / (2 ** width - 1)) * (0.8 + 0.4 * next());
        scales[i] = toBf16(next() < 0.5 ? scale : -scale);
        biases[i] = toBf16((-(scales[i] ?? 0) * (2 ** width - 1) * (0.9 + 0.2 * next())) / 2);
      }
      for (let j = i * group; j < (i + 1) * group; j += 1) {
        const code = codes[j] ?? 0;
        numbers[j] = isMxfp4(module)
          ? (E2M1[code & 7] ?? 0) * (code > 7 ? -1 : 1) * 2 ** (scales[i] ?? 0)
          : (scales[i] ?? 0) * code + (biases[i] ?? 0);
      }
    }
    values.set(module, numbers);
    const lead = shape.slice(0, -1);
    const name = prefix + module;
    const words = [...lead, (columns * width) / 32];
    tensors.push({
      name: `${name}.weight`,
      dtype: 'U32',
      shape: words,
      bytes: packed(codes, width),
    });
    const groups = [...lead, columns / group];
    if (isMxfp4(module)) {
      const bytes = Uint8Array.from(scales, (exponent) => exponent + 127);
      tensors.push({ name: `${name}.scales`, dtype: 'U8', shape: groups, bytes });
      return;
    }
    tensors.push({
      name: `${name}.scales`,
      dtype: 'BF16',
      shape: groups,
      bytes: bf16Bytes(scales),
    });
    tensors.push({
      name: `${name}.biases`,
      dtype: 'BF16',
      shape: groups,
      bytes: bf16Bytes(biases),
    });
  };

  for (const { module, lead, rows, columns, bias } of linears) {
    linear(module, [...lead, rows, columns], bits(module));
    if (bias) plain(`${module}.bias`, [rows], 'BF16', () => (next() - 0.5) * 0.4);
  }
  for (const { layer, experts: e, hiddenSize: h, intermediateSize: i, bias } of routed) {
    for (const name of ['gate_proj', 'up_proj', 'down_proj']) {
      const module = `model.layers.${layer}.mlp.switch_mlp.${name}`;
      const [rows, columns] = name === 'down_proj' ? [h, i] : [i, h];
      linear(module, [e, rows, columns], bits(module));
      if (bias) plain(`${module}.bias`, [e, rows], 'BF16', () => (next() - 0.5) * 0.4);
    }
  }
  for (const { module, parts, columns } of tables) {
    for (let part = 0; part < parts; part += 1) {
      linear(`${module}_${part}`, [TABLE_ROWS, columns], bits(module));
    }
  }
  for (const { name, shape, isInteger = false } of plains) {
    const count = shape[0] ?? 0;
    if (isInteger) {
      const rows = TABLE_ROWS * (tables[0]?.parts ?? 1);
      const size = Math.floor(rows / Math.max(count, 1)) - 1;
      if (name.endsWith('multipliers'))
        integers(
          name,
          Array.from({ length: count }, (_, i) => 2 ** 33 + 2 * i + 1),
        );
      else if (name.endsWith('offsets'))
        integers(
          name,
          Array.from({ length: count }, (_, i) => i * (size + 1)),
        );
      else
        integers(
          name,
          Array.from({ length: count }, (_, i) => size - (i % 2)),
        );
    } else if (/A_log|correction_bias/.test(name)) {
      plain(name, shape, 'F32', () => next() * (name.endsWith('A_log') ? 2 : 0.2));
    } else if (/\.bias$|dt_bias|sinks|conv1d/.test(name)) {
      plain(name, shape, 'BF16', () => next() - 0.5);
    } else {
      plain(name, shape, 'BF16', () => 0.6 + 0.8 * next());
    }
  }
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'config.json'), JSON.stringify(config));
  const half = Math.ceil(tensors.length / 2);
  for (const [index, part] of [tensors.slice(0, half), tensors.slice(half)].entries()) {
    await writeShard(join(folder, `model-0000${index + 1}-of-00002.safetensors`), part);
  }
  return { spec, values, tableRows: TABLE_ROWS };
}

function splitNames(config: Record<string, unknown>): string[] {
  const text = (config.text_config ?? config) as { num_hidden_layers: number };
  return Array.from({ length: text.num_hidden_layers }, (_, layer) =>
    manifestName(`model.layers.${layer}.self_attn.embed_q.weight`),
  );
}

async function writeShard(path: string, tensors: Tensor[]): Promise<void> {
  let at = 0;
  const header: Record<string, unknown> = {};
  for (const { name, dtype, shape, bytes } of tensors) {
    header[name] = { dtype, shape, data_offsets: [at, at + bytes.length] };
    at += bytes.length;
  }
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  await writeFile(path, Buffer.concat([length, json, ...tensors.map(({ bytes }) => bytes)]));
}

/** One stream of bits, the lowest of each code first. */
function packed(codes: Uint8Array, width: number): Uint8Array {
  const bytes = new Uint8Array((codes.length * width) / 8);
  codes.forEach((code, index) => {
    for (let bit = 0; bit < width; bit += 1) {
      const at = index * width + bit;
      if (((code >> bit) & 1) !== 0) bytes[at >> 3] = (bytes[at >> 3] ?? 0) | (1 << (at & 7));
    }
  });
  return bytes;
}

const word = new Uint32Array(1);
const float = new Float32Array(word.buffer);

/** To the nearest, ties to even. */
function toBf16(value: number): number {
  float[0] = value;
  const bits = word[0] ?? 0;
  word[0] = (bits + 0x7fff + ((bits >>> 16) & 1)) & 0xffff0000;
  return float[0];
}

function bf16Bytes(values: Float64Array): Uint8Array {
  const halves = Uint16Array.from(values, (value) => {
    float[0] = value;
    return (word[0] ?? 0) >>> 16;
  });
  return new Uint8Array(halves.buffer);
}
