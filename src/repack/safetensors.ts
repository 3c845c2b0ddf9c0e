// The header of one safetensors file, from disk or network alike, believed only after every number in it
// was checked. Limits are those of the format's reference implementation or far above any real model.

import { FlashmoeError } from '../base/errors.js';
import { jsonViolation } from './header-json.js';
import type { ReadRange, SourceTensor } from './types.js';

/** The Rust reference's and MLX's own limit. */
export const MAX_HEADER_BYTES = 100_000_000;
/** The largest real checkpoints hold a few hundred thousand. */
const MAX_TENSORS = 1_000_000;
const MAX_DIMS = 8;
const MAX_DIM = 2 ** 40;
const MAX_NAME_BYTES = 512;
/** header object → tensor object → shape array. */
const MAX_DEPTH = 3;

/** Bytes an element; kinds that no model is made of are known here, too, so that they can be refused by name later. */
export const DTYPE_BYTES: Readonly<Record<string, number>> = {
  U32: 4,
  BF16: 2,
  F16: 2,
  F32: 4,
  F64: 8,
  I64: 8,
  U64: 8,
  I32: 4,
  I16: 2,
  U16: 2,
  I8: 1,
  U8: 1,
  BOOL: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  F8_E8M0: 1,
};

export interface SafetensorsHeader {
  tensors: SourceTensor[];
  /** What `__metadata__` says; empty without it. */
  metadata: Readonly<Record<string, string>>;
  /** Bytes that no tensor claims: allowed, but not written by any known tool. */
  warnings: string[];
}

/**
 * Two reads: the 8 length bytes, then the header. `size` is the whole file's, as the listing or disk says.
 * Throws ERR_SAFETENSORS naming file and tensor.
 */
export async function readHeader(
  read: ReadRange,
  size: number,
  file: string,
): Promise<SafetensorsHeader> {
  if (size < 9) throw bad(file, `${size} bytes are too few for a header; it may be a pointer file`);
  const prefix = await read(0, 8);
  const length = headerLength(prefix, size, file);
  return parseHeader(await read(8, length), size, file);
}

function headerLength(prefix: Uint8Array, size: number, file: string): number {
  if (prefix.byteLength !== 8) throw bad(file, 'ends inside the header length');
  const length = new DataView(prefix.buffer, prefix.byteOffset, 8).getBigUint64(0, true);
  if (length < 1n || length >= BigInt(MAX_HEADER_BYTES) || length + 8n > BigInt(size)) {
    const text = new TextDecoder('latin1').decode(prefix);
    const hint = /^[\x20-\x7e\n]{8}$/.test(text)
      ? `; the file begins with the text ${JSON.stringify(text)}`
      : '';
    throw bad(file, `claims a header of ${length} bytes in a file of ${size}${hint}`);
  }
  return Number(length);
}

/** `bytes` is the header JSON alone; offsets of the result are absolute in the file. */
export function parseHeader(bytes: Uint8Array, size: number, file: string): SafetensorsHeader {
  const entries = Object.entries(parseObject(bytes, file));
  const dataStart = 8 + bytes.byteLength;
  const tensors: SourceTensor[] = [];
  let metadata: Record<string, string> = {};
  for (const [name, entry] of entries) {
    if (name === '__metadata__') metadata = checkedMetadata(entry, file);
    else tensors.push(parseTensor(name, entry, dataStart, size, file));
  }
  return { tensors, metadata, warnings: checkExtents(tensors, dataStart, size, file) };
}

function parseObject(bytes: Uint8Array, file: string): Record<string, unknown> {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw bad(file, 'the header is not UTF-8', { cause });
  }
  // One more entry than tensors: the metadata.
  const violation = jsonViolation(text, { depth: MAX_DEPTH, entries: MAX_TENSORS + 1 });
  if (violation !== null) throw bad(file, `header: ${violation}`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw bad(file, `the header is not JSON (${(cause as Error).message.slice(0, 120)})`, {
      cause,
    });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw bad(file, 'the header is not a JSON object');
  }
  return value as Record<string, unknown>;
}

function checkedMetadata(value: unknown, file: string): Record<string, string> {
  // As readers with an optional map take it.
  if (value === null) return {};
  const ok =
    typeof value === 'object' &&
    value !== null &&
    Object.values(value).every((item) => typeof item === 'string');
  if (!ok) throw bad(file, '__metadata__ is not a map of strings');
  return value as Record<string, string>;
}

function parseTensor(
  name: string,
  entry: unknown,
  dataStart: number,
  fileSize: number,
  file: string,
): SourceTensor {
  checkName(name, file);
  const fail = (problem: string) => bad(file, problem, { tensor: name });
  if (typeof entry !== 'object' || entry === null) throw fail('is not an object');
  const { dtype, shape, data_offsets: offsets } = entry as Record<string, unknown>;
  if (typeof dtype !== 'string' || !Object.hasOwn(DTYPE_BYTES, dtype)) {
    throw fail(`has the unknown dtype ${JSON.stringify(dtype)?.slice(0, 40)}`);
  }
  if (!isCounts(shape) || shape.length > MAX_DIMS || shape.some((d) => d >= MAX_DIM)) {
    throw fail(`has the impossible shape ${JSON.stringify(shape)?.slice(0, 120)}`);
  }
  const elementBytes = DTYPE_BYTES[dtype] as number;
  const size = shape.reduce((product, d) => product * d, elementBytes);
  // Beyond 2^53 products are no longer exact, and no file is that long.
  if (shape.includes(0) ? false : !Number.isSafeInteger(size)) {
    throw fail(`has the impossible shape ${JSON.stringify(shape)}`);
  }
  if (!isCounts(offsets) || offsets.length !== 2) throw fail('has no usable data_offsets');
  const [begin, end] = offsets as [number, number];
  if (begin > end || end - begin !== size) {
    throw fail(`claims bytes ${begin} to ${end}, but its shape and dtype make ${size} bytes`);
  }
  if (dataStart + end > fileSize) {
    throw fail(`reaches to byte ${dataStart + end} in a file of ${fileSize}`);
  }
  return { name, dtype, shape, shard: file, offset: dataStart + begin, size };
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && item >= 0);
}

function checkName(name: string, file: string): void {
  const tooLong = name.length > MAX_NAME_BYTES || Buffer.byteLength(name) > MAX_NAME_BYTES;
  // Lone surrogates can be written as escapes; they are no UTF-8.
  if (name === '' || tooLong || name.includes('\0') || /\p{Cs}/u.test(name)) {
    throw bad(file, `has a tensor with the impossible name ${JSON.stringify(name.slice(0, 80))}`);
  }
}

function checkExtents(
  tensors: readonly SourceTensor[],
  dataStart: number,
  size: number,
  file: string,
): string[] {
  const sorted = tensors.toSorted((a, b) => a.offset - b.offset || a.size - b.size);
  let [end, unclaimed] = [dataStart, 0];
  let previous = '';
  for (const tensor of sorted) {
    if (tensor.offset < end) {
      throw bad(file, `overlaps ${JSON.stringify(previous)}`, { tensor: tensor.name });
    }
    unclaimed += tensor.offset - end;
    end = tensor.offset + tensor.size;
    previous = tensor.name;
  }
  unclaimed += size - end;
  return unclaimed === 0 ? [] : [`${file}: ${unclaimed} bytes belong to no tensor`];
}

function bad(
  file: string,
  problem: string,
  { tensor, cause }: { tensor?: string; cause?: unknown } = {},
): FlashmoeError {
  const subject = tensor === undefined ? '' : `tensor ${JSON.stringify(tensor)} `;
  return new FlashmoeError('ERR_SAFETENSORS', `${file}: ${subject}${problem}`, {
    subject: tensor ?? file,
    cause,
  });
}
