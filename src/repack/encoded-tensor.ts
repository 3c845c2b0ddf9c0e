// One matrix of an original checkpoint: how its values are stored, and where their own scales are. Shapes decide; what they
// don't say is refused by name.

import { FlashmoeError } from '../base/errors.js';
import type { Encoding } from '../addon/types.js';
import type { SourceTensor } from './types.js';

/** Bits of a stored value. */
export const ENCODED_BITS: Readonly<Record<Encoding, number>> = {
  F32: 32,
  BF16: 16,
  F16: 16,
  F8_E4M3: 8,
  int4: 4,
  mxfp4: 4,
};

/** Rows and columns that share a scale in checkpoints of 8 bits. */
export const FP8_BLOCK = 128;
const MXFP4_GROUP = 32;
const INT4_GROUPS = [32, 64, 128];
const FLOATS = ['BF16', 'F16', 'F32'];

export interface EncodedMatrix {
  encoding: Encoding;
  tensor: SourceTensor;
  scales: SourceTensor | null;
  /** Values of a row that share a scale; 0 where it isn't so. */
  groupSize: number;
}

/** Takes a tensor out of what is left, or null. */
export type Take = (name: string) => SourceTensor | null;

/** The matrix `[...lead, rows, columns]` called `module`, or null when it is not there. */
export function takeMatrix(
  module: string,
  shape: readonly number[],
  take: Take,
): EncodedMatrix | null {
  const packed = take(`${module}.weight_packed`);
  if (packed !== null) return int4Matrix(module, shape, packed, take);
  const tensor = take(`${module}.weight`);
  if (tensor === null) return null;
  return plainOrFp8(`${module}.weight`, shape, tensor, () => take(`${module}.weight_scale_inv`));
}

/** `scalesOf` is asked where the values have scales. */
export function plainOrFp8(
  name: string,
  shape: readonly number[],
  tensor: SourceTensor,
  scalesOf: () => SourceTensor | null,
): EncodedMatrix {
  requireShape(name, tensor, shape);
  if (FLOATS.includes(tensor.dtype)) {
    return { encoding: tensor.dtype as Encoding, tensor, scales: null, groupSize: 0 };
  }
  if (tensor.dtype !== 'F8_E4M3') throw wrongTensor(name, tensor, 'BF16, F16, F32 or F8_E4M3');
  const scales = scalesOf();
  if (scales === null) throw refused(`${name} has 8 bits and no weight_scale_inv`, name);
  const [rows = 0, columns = 0] = shape;
  // Not inferred from the shapes: the last block of a side is simply shorter.
  const grid = [Math.ceil(rows / FP8_BLOCK), Math.ceil(columns / FP8_BLOCK)];
  if (shape.length !== 2) throw wrongTensor(name, tensor, 'a matrix');
  requireShape(scales.name, scales, grid);
  if (scales.dtype !== 'F32') throw wrongTensor(scales.name, scales, 'F32');
  return { encoding: 'F8_E4M3', tensor, scales, groupSize: 0 };
}

function int4Matrix(
  module: string,
  shape: readonly number[],
  tensor: SourceTensor,
  take: Take,
): EncodedMatrix {
  const name = `${module}.weight_packed`;
  const scales = take(`${module}.weight_scale`);
  if (scales === null) throw refused(`${name} has no weight_scale`, name);
  if (take(`${module}.weight_zero_point`) !== null) {
    throw refused(`${module} has zero points; supported are int4 weights without them`, module);
  }
  // Two numbers that the shapes say as well.
  take(`${module}.weight_shape`);
  const columns = shape.at(-1) ?? 0;
  const lead = shape.slice(0, -1);
  if (tensor.dtype !== 'I32' && tensor.dtype !== 'U32') throw wrongTensor(name, tensor, 'I32');
  requireShape(name, tensor, [...lead, columns / 8]);
  const groupSize = columns / (scales.shape.at(-1) ?? 0);
  if (!INT4_GROUPS.includes(groupSize) || !FLOATS.includes(scales.dtype)) {
    throw wrongTensor(scales.name, scales, `one for ${INT4_GROUPS.join(', ')} columns`);
  }
  requireShape(scales.name, scales, [...lead, columns / groupSize]);
  return { encoding: 'int4', tensor, scales, groupSize };
}

/** `[experts, rows, columns]` as blocks of 16 bytes and a scale each. */
export function mxfp4Matrix(
  shape: readonly [number, number, number],
  tensor: SourceTensor,
  scales: SourceTensor,
): EncodedMatrix {
  const [experts, rows, columns] = shape;
  const groups = columns / MXFP4_GROUP;
  for (const one of [tensor, scales]) {
    if (one.dtype !== 'U8') throw wrongTensor(one.name, one, 'U8');
  }
  requireShape(tensor.name, tensor, [experts, rows, groups, MXFP4_GROUP / 2]);
  requireShape(scales.name, scales, [experts, rows, groups]);
  return { encoding: 'mxfp4', tensor, scales, groupSize: MXFP4_GROUP };
}

/** A tensor that is no matrix of weights. */
export function requireFloat(name: string, tensor: SourceTensor): void {
  if (!FLOATS.includes(tensor.dtype)) throw wrongTensor(name, tensor, FLOATS.join(', '));
}

export function requireShape(name: string, tensor: SourceTensor, shape: readonly number[]): void {
  const same = tensor.shape.length === shape.length && shape.every((d, i) => d === tensor.shape[i]);
  if (!same) throw wrongTensor(name, tensor, `[${shape.join(', ')}]`);
}

export function wrongTensor(name: string, tensor: SourceTensor, needed: string): FlashmoeError {
  const found = `${tensor.dtype} [${tensor.shape.join(', ')}] in ${tensor.shard}`;
  return refused(`${JSON.stringify(name)} is ${found}; needed is ${needed}`, name);
}

export function refused(message: string, subject: string | undefined): FlashmoeError {
  return new FlashmoeError('ERR_UNSUPPORTED_MODEL', message, { subject });
}
