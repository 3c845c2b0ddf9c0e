// The header of one GGUF file, version 2 or 3, believed only after every number in it was checked. The format's own document
// is in ggml-org/ggml, docs/gguf.md.

import { FlashmoeError } from '../base/errors.js';
import type { GgufList, GgufValue } from '../models/gguf/metadata.js';
import { ggufType } from './gguf-types.js';
import type { ReadRange } from './types.js';

const MOST_PAIRS = 100_000;
const MOST_TENSORS = 1_000_000;
const MOST_KEY_BYTES = 65_535;
const MOST_NAME_BYTES = 64;
const MOST_DIMS = 4;
const MOST_DEPTH = 4;
/** Tokens and merges are in it: a few dozen megabytes in real files. */
const MOST_HEADER_BYTES = 256 << 20;
const FIRST_READ = 1 << 20;
const DEFAULT_ALIGNMENT = 32;
/** A mark of byte order is a character of a token like any other. */
const UTF8 = new TextDecoder('utf-8', { ignoreBOM: true });

/** Bytes of a metadata value by its type; strings and arrays say their own. */
const VALUE_BYTES: Readonly<Record<number, number>> = {
  ...{ 0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8 },
};
const [STRING, ARRAY] = [8, 9];
/** Least bytes of an element that says its own length. */
const LEAST_STRING = 8;
const LEAST_ARRAY = 12;

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
  metadata: ReadonlyMap<string, GgufValue>;
  tensors: GgufTensor[];
}

/** Reads as much of the file as its header needs, and no byte twice. Throws ERR_GGUF naming file and tensor. */
export async function readGguf(read: ReadRange, size: number, file: string): Promise<GgufHeader> {
  let bytes = await read(0, Math.min(size, FIRST_READ));
  for (;;) {
    const header = parseGguf(bytes, size, file);
    if (header !== null) return header;
    if (bytes.byteLength >= size) throw bad(file, 'ends inside its header');
    if (bytes.byteLength >= MOST_HEADER_BYTES) {
      throw bad(file, `has a header of more than ${MOST_HEADER_BYTES} bytes`);
    }
    const end = Math.min(size, bytes.byteLength * 4);
    const more = await read(bytes.byteLength, end - bytes.byteLength);
    bytes = new Uint8Array(Buffer.concat([bytes, more]));
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
    if (version === 1) throw this.#bad('has version 1, whose counts have another width');
    if (version !== 2 && version !== 3) throw this.#bad(`has the unknown version ${version}`);
    const tensorCount = this.#count(MOST_TENSORS, 'tensors');
    const pairs = this.#count(MOST_PAIRS, 'metadata pairs');
    const metadata = new Map<string, GgufValue>();
    for (let i = 0; i < pairs; i += 1) {
      const key = this.#string(MOST_KEY_BYTES);
      if (metadata.has(key)) throw this.#bad(`${shown(key)} occurs twice`);
      metadata.set(key, this.#value(this.#u32(), 0));
    }
    const infos: GgufTensor[] = [];
    for (let i = 0; i < tensorCount; i += 1) infos.push(this.#info());
    const alignment = metadata.get('general.alignment') ?? DEFAULT_ALIGNMENT;
    if (typeof alignment !== 'number' || alignment < 8 || alignment > 65_536 || alignment % 8 !== 0)
      throw this.#bad(`has the impossible alignment ${shown(alignment)}`);
    const data = Math.ceil(this.#at / alignment) * alignment;
    return { metadata, tensors: this.#placed(infos, data, alignment) };
  }

  #info(): GgufTensor {
    const name = this.#string(MOST_NAME_BYTES);
    const fail = (problem: string): FlashmoeError => this.#bad(`tensor ${shown(name)} ${problem}`);
    const dims = this.#u32();
    if (dims < 1 || dims > MOST_DIMS) throw fail(`has ${dims} dimensions`);
    const shape = Array.from({ length: dims }, () => this.#u64());
    const type = ggufType(this.#u32());
    if (typeof type === 'string') throw fail(`is of the ${type}`);
    const [row = 0] = shape;
    if (row % type.values !== 0)
      throw fail(`has rows of ${row}, no multiple of ${type.values} (${type.name})`);
    const size = (shape.reduce((product, d) => product * d, 1) / type.values) * type.bytes;
    if (!Number.isSafeInteger(size) || size === 0) {
      throw fail(`has the impossible shape [${shape.join(', ')}]`);
    }
    return { name, type: type.name, shape: shape.reverse(), offset: this.#u64(), size };
  }

  /** With offsets in the file; no two overlap and none reaches out of it. */
  #placed(infos: GgufTensor[], data: number, alignment: number): GgufTensor[] {
    const names = new Set<string>();
    for (const { name } of infos) {
      if (names.has(name)) throw this.#bad(`has tensor ${shown(name)} twice`);
      names.add(name);
    }
    const tensors = infos.map((info) => ({ ...info, offset: data + info.offset }));
    let end = data;
    for (const { name, offset, size } of tensors.toSorted((a, b) => a.offset - b.offset)) {
      if ((offset - data) % alignment !== 0)
        throw this.#bad(`tensor ${shown(name)} is not aligned`);
      if (offset < end) throw this.#bad(`tensor ${shown(name)} overlaps another`);
      end = offset + size;
      if (end > this.size) {
        throw this.#bad(`tensor ${shown(name)} reaches to byte ${end} in a file of ${this.size}`);
      }
    }
    return tensors;
  }

  #value(type: number, depth: number): GgufValue {
    if (type === STRING) return this.#string(this.size);
    if (type === ARRAY) return this.#list(depth);
    const bytes = VALUE_BYTES[type];
    if (bytes === undefined) throw this.#bad(`has a value of the unknown type ${type}`);
    const at = this.#at;
    this.#skip(bytes);
    return numberAt(this.#view, at, type);
  }

  #list(depth: number): GgufList {
    if (depth === MOST_DEPTH) throw this.#bad(`has arrays deeper than ${MOST_DEPTH} levels`);
    const of = this.#u32();
    const bytes = VALUE_BYTES[of];
    const least = bytes ?? (of === ARRAY ? LEAST_ARRAY : LEAST_STRING);
    if (bytes === undefined && of !== STRING && of !== ARRAY)
      throw this.#bad(`has an array of the unknown type ${of}`);
    const length = this.#count(Math.floor((this.size - this.#at) / least), 'elements of an array');
    const from = this.#at;
    if (bytes !== undefined) this.#skip(length * bytes);
    else if (of === STRING) for (let i = 0; i < length; i += 1) this.#skip(this.#u64());
    else for (let i = 0; i < length; i += 1) this.#list(depth + 1);
    return new Elements(this.#bytes.subarray(from, this.#at), of, length);
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
    return UTF8.decode(this.#bytes.subarray(start, start + length));
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

/** Elements of an array, decoded only where somebody asks: vocabularies are most of a header. */
class Elements implements GgufList {
  constructor(
    private readonly bytes: Uint8Array,
    private readonly type: number,
    readonly length: number,
  ) {}

  texts(): string[] | null {
    if (this.type !== STRING) return null;
    const view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.byteLength);
    let at = 0;
    return Array.from({ length: this.length }, () => {
      const from = at + 8;
      at = from + Number(view.getBigUint64(at, true));
      return UTF8.decode(this.bytes.subarray(from, at));
    });
  }

  numbers(): number[] | null {
    const bytes = VALUE_BYTES[this.type];
    if (bytes === undefined) return null;
    const view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.byteLength);
    return Array.from({ length: this.length }, (_, i) =>
      Number(numberAt(view, i * bytes, this.type)),
    );
  }
}

function numberAt(view: DataView, at: number, type: number): number | boolean {
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

/** Of a hostile file: bounded, and without control characters. */
function shown(value: GgufValue): string {
  const text = typeof value === 'string' ? value.slice(0, 200) : value;
  return typeof text === 'object' ? 'a list' : JSON.stringify(text);
}

function bad(file: string, problem: string): FlashmoeError {
  return new FlashmoeError('ERR_GGUF', `${file}: ${problem}`, { subject: file });
}
