import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FlashmoeError } from '../../src/base/errors.js';
import { parseHeader, readHeader } from '../../src/repack/safetensors.js';
import type { ReadRange } from '../../src/repack/types.js';
import { FAMILIES, fixture } from './fixtures.js';

const text = (value: string) => new TextEncoder().encode(value);
const header = (value: unknown) => text(JSON.stringify(value));

/** A file of `size` bytes that begins with `length` and `bytes`. */
function source(length: bigint, bytes: Uint8Array): ReadRange {
  const start = new Uint8Array(8);
  new DataView(start.buffer).setBigUint64(0, length, true);
  const file = Buffer.concat([start, bytes]);
  return (from, count) => Promise.resolve(file.subarray(from, from + count));
}

function refusal(action: () => unknown): FlashmoeError {
  try {
    action();
  } catch (error) {
    if (error instanceof FlashmoeError) return error;
    throw error;
  }
  throw new Error('the header was accepted');
}

const tensor = (begin: number, end: number, shape: unknown = [end - begin], dtype = 'U8') => ({
  dtype,
  shape,
  data_offsets: [begin, end],
});

test('a header is found by two reads, the second as long as the first said', async () => {
  const reads: [number, number][] = [];
  const bytes = header({ a: tensor(0, 4) });
  const read = source(BigInt(bytes.length), bytes);
  const size = 8 + bytes.length + 4;
  const { tensors } = await readHeader(
    (start, length) => {
      reads.push([start, length]);
      return read(start, length);
    },
    size,
    'x.safetensors',
  );
  expect(reads).toEqual([
    [0, 8],
    [8, bytes.length],
  ]);
  expect(tensors).toEqual([
    { name: 'a', dtype: 'U8', shape: [4], shard: 'x.safetensors', offset: size - 4, size: 4 },
  ]);
});

test.each(FAMILIES)('offsets in the %s shards lead to the data', async (family) => {
  const path = join(fixture(family), 'model-00001-of-00003.safetensors');
  const file = readFileSync(path);
  const read: ReadRange = (from, count) => Promise.resolve(file.subarray(from, from + count));
  const { tensors, warnings } = await readHeader(read, file.length, 'a.safetensors');
  expect(warnings).toEqual([]);
  const end = Math.max(...tensors.map(({ offset, size }) => offset + size));
  expect(end).toBe(file.length);
});

test('spaces behind the JSON, scalars and empty tensors are fine', () => {
  const json = `${JSON.stringify({
    __metadata__: { format: 'pt' },
    scalar: tensor(0, 4, [], 'F32'),
    empty: tensor(4, 4, [0, 1099511627775], 'F32'),
  })}     `;
  const { tensors } = parseHeader(text(json), 8 + json.length + 4, 'f');
  expect(tensors.map(({ name, size }) => [name, size])).toEqual([
    ['scalar', 4],
    ['empty', 0],
  ]);
});

test('bytes that belong to no tensor are a warning', () => {
  const bytes = header({ a: tensor(0, 2), b: tensor(5, 6) });
  const { warnings } = parseHeader(bytes, 8 + bytes.length + 10, 'f');
  expect(warnings).toEqual(['f: 7 bytes belong to no tensor']);
});

describe('a header length that lies is refused before anything is allocated', () => {
  test.each<[string, bigint, number]>([
    ['2^60 bytes', 2n ** 60n, 10_000],
    ['2^64 - 1 bytes', 2n ** 64n - 1n, 10_000],
    ['nothing', 0n, 10_000],
    ['more than the file', 9_993n, 10_000],
    ['the limit', 100_000_000n, 200_000_000],
  ])('%s', async (_, length, size) => {
    const asked: number[] = [];
    const read = source(length, new Uint8Array(64));
    const spy: ReadRange = (from, count) => (asked.push(count), read(from, count));
    await expect(readHeader(spy, size, 'f')).rejects.toMatchObject({ code: 'ERR_SAFETENSORS' });
    expect(asked).toEqual([8]);
  });

  test('a pointer file or a page of HTML is recognised by its text', async () => {
    const pointer = text('version https://git-lfs.github.com/spec/v1\n');
    const read: ReadRange = (from, count) => Promise.resolve(pointer.subarray(from, from + count));
    await expect(readHeader(read, 10_000, 'f')).rejects.toThrow('begins with the text "version "');
    await expect(readHeader(read, 5, 'f')).rejects.toThrow('pointer file');
  });
});

describe('a hostile header is refused, naming the tensor', () => {
  const size = 1_000_000;
  test.each<[string, string, string]>([
    ['no JSON', '{"a":', 'not JSON'],
    ['a list', '[]', 'not a JSON object'],
    ['null', 'null', 'not a JSON object'],
    ['NaN', '{"a":{"dtype":"U8","shape":[NaN],"data_offsets":[0,1]}}', 'not JSON'],
    ['a duplicate name', '{"a":1,"a":1}', '"a" occurs twice'],
    ['a duplicate in other letters', '{"ab":1,"a\\u0062":1}', 'occurs twice'],
    ['a duplicate field', '{"a":{"dtype":"U8","dtype":"F32"}}', '"dtype" occurs twice'],
    ['deep nesting', '['.repeat(100_000), 'nested deeper'],
    ['a number for a tensor', '{"a":1}', 'tensor "a" is not an object'],
    [
      'an unknown dtype',
      '{"a":{"dtype":"F13","shape":[],"data_offsets":[0,1]}}',
      'unknown dtype "F13"',
    ],
    [
      'a dtype from the prototype',
      '{"a":{"dtype":"constructor","shape":[],"data_offsets":[0,1]}}',
      'unknown dtype',
    ],
    ['no shape', '{"a":{"dtype":"U8","data_offsets":[0,1]}}', 'impossible shape'],
    [
      'a negative dimension',
      '{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}',
      'impossible shape',
    ],
    [
      'half a dimension',
      '{"a":{"dtype":"U8","shape":[0.5],"data_offsets":[0,1]}}',
      'impossible shape',
    ],
    [
      'a dimension of 2^40',
      '{"a":{"dtype":"U8","shape":[1099511627776],"data_offsets":[0,1]}}',
      'impossible shape',
    ],
    [
      'nine dimensions',
      '{"a":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]}}',
      'impossible shape',
    ],
    [
      'a product of 2^70',
      '{"a":{"dtype":"U8","shape":[34359738368,34359738368],"data_offsets":[0,1]}}',
      'impossible shape',
    ],
    [
      'an end before the begin',
      '{"a":{"dtype":"U8","shape":[1],"data_offsets":[2,1]}}',
      'claims bytes 2 to 1',
    ],
    [
      'a size unlike its shape',
      '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}',
      'make 8 bytes',
    ],
    ['three offsets', '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}}', 'data_offsets'],
    [
      'offsets beyond 2^53',
      '{"a":{"dtype":"U8","shape":[1],"data_offsets":[9007199254740993,9007199254740994]}}',
      'data_offsets',
    ],
    [
      'data past the end',
      `{"a":{"dtype":"U8","shape":[${size}],"data_offsets":[0,${size}]}}`,
      'reaches to byte',
    ],
    ['an overlap', JSON.stringify({ a: tensor(0, 8), b: tensor(7, 9) }), 'tensor "b" overlaps "a"'],
    ['two tensors in one place', JSON.stringify({ a: tensor(0, 8), b: tensor(0, 8) }), 'overlaps'],
    ['an empty name', JSON.stringify({ '': tensor(0, 1) }), 'impossible name'],
    ['a NUL in a name', JSON.stringify({ 'a\0b': tensor(0, 1) }), 'impossible name'],
    [
      'half a surrogate in a name',
      '{"\\ud800":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
      'impossible name',
    ],
    [
      'a name of 513 bytes',
      JSON.stringify({ ['é'.repeat(256) + 'x']: tensor(0, 1) }),
      'impossible name',
    ],
    ['metadata of numbers', '{"__metadata__":{"a":1}}', '__metadata__'],
  ])('%s', (_, json, message) => {
    const error = refusal(() => parseHeader(text(json), size, 'model.safetensors'));
    expect(error.code).toBe('ERR_SAFETENSORS');
    expect(error.message).toMatch(/^model\.safetensors: /);
    expect(error.message).toContain(message);
  });

  test('bytes that are no UTF-8', () => {
    const bytes = new Uint8Array([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]);
    expect(refusal(() => parseHeader(bytes, 100, 'f')).message).toContain('not UTF-8');
  });

  test('a million and two entries, before they are parsed', () => {
    const entries = Array.from({ length: 1_000_002 }, (_, i) => `"${i}":0`);
    const error = refusal(() => parseHeader(text(`{${entries.join(',')}}`), 1e9, 'f'));
    expect(error.message).toContain('more than 1000001 entries');
  });

  test('a name out of Object.prototype is a name like any other', () => {
    const json = '{"__proto__":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}';
    const { tensors } = parseHeader(text(json), 8 + json.length + 1, 'f');
    expect(tensors.map(({ name }) => name)).toEqual(['__proto__']);
  });

  test('long quoted rubbish costs linear time', () => {
    const rubbish = `{"${'\\"'.repeat(2_000_000)}`;
    expect(refusal(() => parseHeader(text(rubbish), 1e9, 'f')).message).toContain('not JSON');
  });
});

test('any bytes either parse to tensors inside the file or are refused with a FlashmoeError', () => {
  const size = 4096;
  const dims = fc.array(fc.oneof(fc.nat(64), fc.double(), fc.integer()), { maxLength: 9 });
  const entry = fc.record(
    {
      dtype: fc.constantFrom('U8', 'F32', 'BF16', 'X', '__proto__'),
      shape: fc.oneof(dims, fc.anything()),
      data_offsets: fc.oneof(fc.tuple(fc.nat(4096), fc.nat(4096)), fc.anything()),
    },
    { requiredKeys: [] },
  );
  const value = fc.dictionary(fc.string({ maxLength: 8 }), fc.oneof(entry, fc.jsonValue()));
  fc.assert(
    fc.property(value, (json) => {
      try {
        const bytes = text(JSON.stringify(json));
        for (const t of parseHeader(bytes, size, 'f').tensors) {
          expect(t.offset).toBeGreaterThanOrEqual(8 + bytes.length);
          expect(t.offset + t.size).toBeLessThanOrEqual(size);
        }
      } catch (error) {
        expect(error).toBeInstanceOf(FlashmoeError);
      }
    }),
    { numRuns: 500 },
  );
});
