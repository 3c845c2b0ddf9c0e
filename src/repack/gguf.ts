// The header of one GGUF file, version 2 or 3, believed only after every number in it was checked. The format's own document
// is in ggml-org/ggml, docs/gguf.md.

import { FlashmoeError } from '../base/errors.js';
import type { ReadRange } from './types.js';

const MOST_PAIRS = 100_000;
const MOST_TENSORS = 1_000_000;
const MOST_KEY_BYTES = 65_535;
const MOST_NAME_BYTES = 512;
const MOST_DIMS = 4;
const MOST_DEPTH = 4;
/** Tokens and merges are in it: a few dozen megabytes in real files. */
const MOST_HEADER_BYTES = 256 << 20;
const FIRST_READ = 1 << 20;

/** Number in the file → name, values of a block, bytes of a block. */
const TYPES: Readonly<Record<number, readonly [string, number, number]>> = {
  ...{ 0: ['F32', 1, 4], 1: ['F16', 1, 2], 2: ['Q4_0', 32, 18], 3: ['Q4_1', 32, 20] },
  ...{ 6: ['Q5_0', 32, 22], 7: ['Q5_1', 32, 24], 8: ['Q8_0', 32, 34], 10: ['Q2_K', 256, 84] },
  ...{ 11: ['Q3_K', 256, 110], 12: ['Q4_K', 256, 144], 13: ['Q5_K', 256, 176] },
  ...{ 14: ['Q6_K', 256, 210], 16: ['IQ2_XXS', 256, 66], 17: ['IQ2_XS', 256, 74] },
  ...{ 18: ['IQ3_XXS', 256, 98], 19: ['IQ1_S', 256, 50], 20: ['IQ4_NL', 32, 18] },
  ...{ 21: ['IQ3_S', 256, 110], 22: ['IQ2_S', 256, 82], 23: ['IQ4_XS', 256, 136] },
  ...{ 24: ['I8', 1, 1], 25: ['I16', 1, 2], 26: ['I32', 1, 4], 27: ['I64', 1, 8] },
  ...{ 28: ['F64', 1, 8], 29: ['IQ1_M', 256, 56], 30: ['BF16', 1, 2], 34: ['TQ1_0', 256, 54] },
  ...{ 35: ['TQ2_0', 256, 66], 39: ['MXFP4', 32, 17], 40: ['NVFP4', 64, 36] },
};

/** Bytes of a metadata value by its type; strings and arrays say their own. */
const VALUE_BYTES: Readonly<Record<number, number>> = {
  ...{ 0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8 },
};
const [STRING, ARRAY] = [8, 9];

export interface GgufTensor {
  name: string;
  type: string;
  /** Outermost first; the file has them reversed. */
  shape: number[];
  /** Absolute in the file. */
  offset: number;
  size: number;
}

export interface GgufHeader {
  /** Strings and numbers; arrays are passed over. */
  metadata: ReadonlyMap<string, string | number | boolean>;
  tensors: GgufTensor[];
}

/** Reads as much of the file as its header needs. Throws ERR_FORMAT naming file and tensor. */
export async function readGguf(read: ReadRange, size: number, file: string): Promise<GgufHeader> {
  for (let length = Math.min(size, FIRST_READ); ; length = Math.min(size, length * 4)) {
    const header = parseGguf(await read(0, length), size, file);
    if (header !== null) return header;
    if (length >= size) throw bad(file, 'ends inside its header');
    if (length >= MOST_HEADER_BYTES) {
      throw bad(file, `has a header of more than ${MOST_HEADER_BYTES} bytes`);
    }
  }
}

/** `bytes`: the beginning of a file of `size`; null when they end inside the header. Throws as readGguf does. */
export function parseGguf(bytes: Uint8Array, size: number, file: string): GgufHeader | null {
  try {
    return new Parser(bytes, size, file).header();
  } catch (error) {
    if (error instanceof TooShort) return null;
    throw error;
  }
}

/** What was read of the file ends before the header does. */
class TooShort extends Error {}

class Parser {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(
    bytes: Uint8Array,
    private readonly size: number,
    private readonly file: string,
  ) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  header(): GgufHeader {
    if (this.#text(4) !== 'GGUF') throw this.#bad('is no GGUF file');
    const version = this.#u32();
    if (version === 0x03000000 || version === 0x02000000) throw this.#bad('is big-endian');
    if (version !== 2 && version !== 3) throw this.#bad(`has the unknown version ${version}`);
    const tensorCount = this.#count(MOST_TENSORS, 'tensors');
    const pairs = this.#count(MOST_PAIRS, 'metadata pairs');
    const metadata = new Map<string, string | number | boolean>();
    for (let i = 0; i < pairs; i += 1) {
      const key = this.#string(MOST_KEY_BYTES);
      if (metadata.has(key)) throw this.#bad(`${JSON.stringify(key)} occurs twice`);
      const value = this.#value(this.#u32(), 0);
      if (value !== null) metadata.set(key, value);
    }
    const infos = Array.from({ length: tensorCount }, () => this.#info());
    const alignment = metadata.get('general.alignment') ?? 32;
    if (typeof alignment !== 'number' || alignment < 8 || alignment > 65_536 || alignment % 8 !== 0)
      throw this.#bad(`has the impossible alignment ${String(alignment)}`);
    const data = Math.ceil(this.#at / alignment) * alignment;
    return { metadata, tensors: this.#placed(infos, data, alignment) };
  }

  #info(): GgufTensor {
    const name = this.#string(MOST_NAME_BYTES);
    const fail = (problem: string): FlashmoeError =>
      this.#bad(`tensor ${JSON.stringify(name.slice(0, 200))} ${problem}`);
    const dims = this.#u32();
    if (dims < 1 || dims > MOST_DIMS) throw fail(`has ${dims} dimensions`);
    const shape = Array.from({ length: dims }, () => this.#u64());
    const number = this.#u32();
    const type = TYPES[number];
    if (type === undefined) throw fail(`is of the unknown type ${number}`);
    const [row = 0] = shape;
    const [typeName, values, bytes] = type;
    if (row % values !== 0)
      throw fail(`has rows of ${row}, no multiple of ${values} (${typeName})`);
    const size = shape.reduce((product, d) => product * d, 1) * (bytes / values);
    if (!Number.isSafeInteger(Math.round(size)) || shape.includes(0)) {
      throw fail(`has the impossible shape [${shape.join(', ')}]`);
    }
    return { name, type: typeName, shape: shape.reverse(), offset: this.#u64(), size };
  }

  /** With offsets in the file; no two overlap and none reaches out of it. */
  #placed(infos: GgufTensor[], data: number, alignment: number): GgufTensor[] {
    const names = new Set<string>();
    for (const { name } of infos) {
      if (names.has(name)) throw this.#bad(`has tensor ${JSON.stringify(name)} twice`);
      names.add(name);
    }
    const tensors = infos.map((info) => ({ ...info, offset: data + info.offset }));
    let end = data;
    for (const { name, offset, size } of tensors.toSorted((a, b) => a.offset - b.offset)) {
      const known = JSON.stringify(name.slice(0, 200));
      if ((offset - data) % alignment !== 0) throw this.#bad(`tensor ${known} is not aligned`);
      if (offset < end) throw this.#bad(`tensor ${known} overlaps another`);
      end = offset + size;
      if (end > this.size) {
        throw this.#bad(`tensor ${known} reaches to byte ${end} in a file of ${this.size}`);
      }
    }
    return tensors;
  }

  #value(type: number, depth: number): string | number | boolean | null {
    if (type === STRING) return this.#string(this.size);
    if (type === ARRAY) {
      if (depth === MOST_DEPTH) throw this.#bad(`has arrays deeper than ${MOST_DEPTH} levels`);
      const of = this.#u32();
      const count = this.#count(this.size, 'elements of an array');
      const bytes = VALUE_BYTES[of];
      if (bytes !== undefined) this.#skip(count * bytes);
      else for (let i = 0; i < count; i += 1) this.#element(of, depth + 1);
      return null;
    }
    const [view, at, bytes] = [this.#view, this.#at, VALUE_BYTES[type]];
    if (bytes === undefined) throw this.#bad(`has a value of the unknown type ${type}`);
    this.#skip(bytes);
    switch (type) {
      case 0:
        return view.getUint8(at);
      case 1:
        return view.getInt8(at);
      case 2:
        return view.getUint16(at, true);
      case 3:
        return view.getInt16(at, true);
      case 4:
        return view.getUint32(at, true);
      case 5:
        return view.getInt32(at, true);
      case 6:
        return view.getFloat32(at, true);
      case 7:
        return view.getUint8(at) !== 0;
      case 10:
        return Number(view.getBigUint64(at, true));
      case 11:
        return Number(view.getBigInt64(at, true));
      default:
        return view.getFloat64(at, true);
    }
  }

  /** Passed over; a string is not decoded. */
  #element(type: number, depth: number): void {
    if (type === STRING) this.#skip(this.#u64());
    else this.#value(type, depth);
  }

  #count(most: number, what: string): number {
    const count = this.#u64();
    if (count > most) throw this.#bad(`claims ${count} ${what}`);
    return count;
  }

  #string(most: number): string {
    const length = this.#u64();
    if (length > most) throw this.#bad(`claims a text of ${length} bytes`);
    return this.#text(length);
  }

  #text(length: number): string {
    const start = this.#at;
    this.#skip(length);
    return new TextDecoder().decode(this.#bytes.subarray(start, start + length));
  }

  #u32(): number {
    const at = this.#at;
    this.#skip(4);
    return this.#view.getUint32(at, true);
  }

  /** Beyond 2^53 it is no size of anything: the caller's bound refuses it. */
  #u64(): number {
    const at = this.#at;
    this.#skip(8);
    return Number(this.#view.getBigUint64(at, true));
  }

  #skip(bytes: number): void {
    if (bytes > this.size - this.#at) throw this.#bad('ends inside its header');
    if (bytes > this.#bytes.byteLength - this.#at) throw new TooShort();
    this.#at += bytes;
  }

  #bad(problem: string): FlashmoeError {
    return bad(this.file, problem);
  }
}

function bad(file: string, problem: string): FlashmoeError {
  return new FlashmoeError('ERR_FORMAT', `${file}: ${problem}`, { subject: file });
}

/** A repository of GGUF files only: what its first file is, and what works in its place. */
export function unreadGguf(file: string, { metadata, tensors }: GgufHeader): FlashmoeError {
  const of = metadata.get('general.architecture');
  const architecture = typeof of === 'string' ? of.slice(0, 40) : 'unknown';
  const types = [...new Set(tensors.map(({ type }) => type))].sort().join(', ');
  return new FlashmoeError(
    'ERR_UNSUPPORTED_MODEL',
    `${file} is a GGUF file (${JSON.stringify(architecture)} with ${types}), which flashmoe does not set up; nothing was fetched`,
    {
      subject: file,
      hint: 'name an MLX conversion of the model, or the repository of its authors (BF16, FP8, int4 or MXFP4), which --quant makes as small',
    },
  );
}
