// Writes GGUF files for tests, right or wrong: nothing is checked here.

type Scalar = 'u8' | 'i8' | 'u16' | 'i16' | 'u32' | 'i32' | 'f32' | 'u64';
export type Pair =
  | [key: string, type: Scalar, value: number | bigint]
  | [key: string, type: 'bool', value: boolean]
  | [key: string, type: 'string', value: string]
  | [key: string, type: 'strings', value: string[]]
  | [key: string, type: 'numbers', value: number[]]
  | [key: string, type: 'lists', value: number[][]];

export interface Tensor {
  name: string;
  /** Innermost first, as the file has them. */
  dims: number[];
  type: number;
  /** null: behind the one before. */
  offset: number | null;
  bytes: number;
  /** Zeros where there is none. */
  data?: Uint8Array;
}

const NUMBERS: Readonly<Record<Scalar, number>> = {
  ...{ u8: 0, i8: 1, u16: 2, i16: 3, u32: 4, i32: 5, f32: 6, u64: 10 },
};

export function ggufFile({
  version = 3,
  pairs,
  tensors,
}: {
  version?: number;
  pairs: readonly Pair[];
  tensors: readonly Tensor[];
}): Buffer {
  const alignment = Number(pairs.find(([key]) => key === 'general.alignment')?.[2] ?? 32) || 32;
  const roundUp = (at: number): number => Math.ceil(at / alignment) * alignment;
  let end = 0;
  const placed = tensors.map((tensor) => {
    const offset = tensor.offset ?? roundUp(end);
    end = Math.max(end, offset + tensor.bytes);
    return { ...tensor, offset };
  });
  const header = Buffer.concat([
    ...[Buffer.from('GGUF'), u32(version), u64(tensors.length), u64(pairs.length)],
    ...pairs.map(([key, type, value]) => Buffer.concat([text(key), valueOf(type, value)])),
    ...placed.map(({ name, dims, type, offset }) =>
      Buffer.concat([text(name), u32(dims.length), ...dims.map(u64), u32(type), u64(offset)]),
    ),
  ]);
  const file = Buffer.alloc(roundUp(header.length) + end);
  header.copy(file);
  for (const { offset, data } of placed) file.set(data ?? [], roundUp(header.length) + offset);
  return file;
}

function valueOf(type: Pair[1], value: Pair[2]): Buffer {
  switch (type) {
    case 'string':
      return Buffer.concat([u32(8), text(value as string)]);
    case 'bool':
      return Buffer.concat([u32(7), Buffer.from([value === true ? 1 : 0])]);
    case 'strings':
      return list(8, (value as string[]).map(text));
    case 'numbers':
      return list(5, (value as number[]).map(i32));
    case 'lists':
      return list(
        9,
        (value as number[][]).map((each) => list(5, each.map(i32)).subarray(4)),
      );
    default:
      return Buffer.concat([u32(NUMBERS[type]), scalar(type, value as number | bigint)]);
  }
}

function list(of: number, elements: Buffer[]): Buffer {
  return Buffer.concat([u32(9), u32(of), u64(elements.length), ...elements]);
}

function scalar(type: Scalar, value: number | bigint): Buffer {
  const view = new DataView(new ArrayBuffer(8));
  const number = Number(value);
  if (type === 'u64') view.setBigUint64(0, BigInt(value), true);
  else if (type === 'f32') view.setFloat32(0, number, true);
  else view.setInt32(0, number, true);
  const bytes = { u8: 1, i8: 1, u16: 2, i16: 2, u32: 4, i32: 4, f32: 4, u64: 8 }[type];
  return Buffer.from(view.buffer, 0, bytes);
}

function text(value: string): Buffer {
  return Buffer.concat([u64(Buffer.byteLength(value)), Buffer.from(value)]);
}

function u32(value: number): Buffer {
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32LE(value);
  return buffer;
}

function i32(value: number): Buffer {
  const buffer = Buffer.alloc(4);
  buffer.writeInt32LE(value);
  return buffer;
}

function u64(value: number): Buffer {
  const buffer = Buffer.alloc(8);
  buffer.writeBigUInt64LE(BigInt(value));
  return buffer;
}
