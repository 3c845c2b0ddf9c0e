// A whole checkpoint in memory: read, changed and written again, so that a test has the conversion it needs. Written from
// the format's description alone; it shares no code with what reads checkpoints in the product.

import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

export type FloatType = 'BF16' | 'F16' | 'F32';

export interface Stored {
  dtype: FloatType | 'U32';
  shape: number[];
  bytes: Uint8Array;
}

/** Tensors by name. */
export type Checkpoint = Map<string, Stored>;

export interface Affine {
  bits: number;
  groupSize: number;
}

export interface Matrix {
  shape: number[];
  values: Float32Array;
}

export async function readCheckpoint(folder: string): Promise<Checkpoint> {
  const tensors: Checkpoint = new Map();
  for (const name of (await readdir(folder)).filter((file) =>
    /^model.*\.safetensors$/.test(file),
  )) {
    const file = await readFile(join(folder, name));
    const start = 8 + Number(file.readBigUInt64LE(0));
    const header = JSON.parse(file.toString('utf8', 8, start)) as Record<
      string,
      { dtype: Stored['dtype']; shape: number[]; data_offsets: [number, number] }
    >;
    for (const [tensor, { dtype, shape, data_offsets }] of Object.entries(header)) {
      if (tensor === '__metadata__') continue;
      const [from, to] = data_offsets;
      // Copied, because tensors are unaligned in the file.
      const bytes = new Uint8Array(file.subarray(start + from, start + to));
      tensors.set(tensor, { dtype, shape, bytes });
    }
  }
  return tensors;
}

/** config.json and one shard, in the order of the map. */
export async function writeCheckpoint(
  folder: string,
  config: unknown,
  tensors: Iterable<[string, Stored]>,
): Promise<void> {
  const all = [...tensors];
  let end = 0;
  const header: Record<string, unknown> = { __metadata__: { format: 'mlx' } };
  for (const [name, { dtype, shape, bytes }] of all) {
    const begin = end;
    end += bytes.byteLength;
    header[name] = { dtype, shape, data_offsets: [begin, end] };
  }
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'config.json'), JSON.stringify(config));
  await writeFile(join(folder, 'model.safetensors'), [
    length,
    json,
    ...all.map(([, t]) => t.bytes),
  ]);
}

const words = (bytes: Uint8Array) =>
  new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
const bitsOf = (value: number) => new Uint32Array(Float32Array.of(value).buffer)[0] ?? 0;

/** Of a float tensor. */
export function floats({ dtype, shape, bytes }: Stored): Matrix {
  if (dtype === 'F32') return { shape, values: new Float32Array(words(bytes).slice().buffer) };
  const halves = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
  if (dtype === 'F16') return { shape, values: Float32Array.from(halves, fromF16) };
  const wide = Uint32Array.from(halves, (half) => half << 16);
  return { shape, values: new Float32Array(wide.buffer) };
}

function fromF16(half: number): number {
  const [exponent, fraction] = [(half >> 10) & 31, half & 1023];
  const size = exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25);
  return half & 0x8000 ? -size : size;
}

/** Rounds to nearest even. */
export function stored(dtype: FloatType, { shape, values }: Matrix): Stored {
  if (dtype === 'F32') return { dtype, shape, bytes: new Uint8Array(values.slice().buffer) };
  const halves = Uint16Array.from(values, dtype === 'F16' ? toF16 : toBf16);
  return { dtype, shape, bytes: new Uint8Array(halves.buffer) };
}

function toBf16(value: number): number {
  const bits = bitsOf(value);
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

function toF16(value: number): number {
  const sign = value < 0 ? 0x8000 : 0;
  const size = Math.abs(value);
  // Steps of 2^-24 below the smallest normal number, of 2^(exponent - 10) above it.
  const exponent = Math.max(-14, Math.floor(Math.log2(size)));
  const steps = roundHalfEven(size / 2 ** (exponent - 10));
  return sign | (size === 0 ? 0 : steps + (exponent + 14) * 1024);
}

function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
}

/** Codes of a quantised weight, one a value, row by row. */
export function codesOf(weight: Stored, bits: number): Uint8Array {
  const [perByte, mask] = [8 / bits, 2 ** bits - 1];
  const codes = new Uint8Array(weight.bytes.length * perByte);
  // The first code of a little-endian word is in the lowest bits of its first byte.
  for (let i = 0; i < codes.length; i++) {
    codes[i] = ((weight.bytes[Math.floor(i / perByte)] ?? 0) >> (bits * (i % perByte))) & mask;
  }
  return codes;
}

/** The weight of `[...lead, columns]` codes. */
export function packedCodes(codes: Uint8Array, shape: readonly number[], bits: number): Stored {
  const perByte = 8 / bits;
  const bytes = new Uint8Array(codes.length / perByte);
  for (let i = 0; i < codes.length; i++) {
    const at = Math.floor(i / perByte);
    bytes[at] = (bytes[at] ?? 0) | ((codes[i] ?? 0) << (bits * (i % perByte)));
  }
  const columns = ((shape.at(-1) ?? 0) * bits) / 32;
  return { dtype: 'U32', shape: [...shape.slice(0, -1), columns], bytes };
}

/** A module's weight, scales and biases, and what its shapes say of them. */
export interface Triple extends Affine {
  module: string;
  /** Logical. */
  shape: number[];
  weight: Stored;
  scales: Stored;
  biases: Stored;
}

/** Bits follow from the group size: columns = groups · group size. */
export function tripleOf(tensors: Checkpoint, module: string, groupSize: number): Triple {
  const [weight, scales, biases] = ['weight', 'scales', 'biases'].map((part) => {
    const found = tensors.get(`${module}.${part}`);
    if (!found) throw new Error(`the checkpoint has no ${module}.${part}`);
    return found;
  }) as [Stored, Stored, Stored];
  const columns = (scales.shape.at(-1) ?? 0) * groupSize;
  const bits = (32 * (weight.shape.at(-1) ?? 0)) / columns;
  return {
    module,
    bits,
    groupSize,
    shape: [...weight.shape.slice(0, -1), columns],
    weight,
    scales,
    biases,
  };
}

/** Modules that are stored as triples. */
export function quantisedModules(tensors: Checkpoint): string[] {
  return [...tensors.keys()].flatMap((name) =>
    name.endsWith('.scales') ? [name.slice(0, -7)] : [],
  );
}

/** scale · code + bias, in float32. */
export function dequantised({ bits, groupSize, shape, weight, scales, biases }: Triple): Matrix {
  const [scale, bias] = [floats(scales).values, floats(biases).values];
  const codes = codesOf(weight, bits);
  const values = new Float32Array(codes.length);
  for (let i = 0; i < codes.length; i++) {
    const group = Math.floor(i / groupSize);
    values[i] = Math.fround((scale[group] ?? NaN) * (codes[i] ?? NaN)) + (bias[group] ?? NaN);
  }
  return { shape, values };
}
