// The reader of GGUF headers: a file with every type, what writers do differently, hostile files, and files in parts.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FlashmoeError } from '../../src/base/errors.js';
import { parseGguf, readGguf } from '../../src/repack/gguf.js';
import { GgufMetadata } from '../../src/models/gguf/metadata.js';
import { ggufSideFiles } from '../../src/models/gguf/side-files.js';
import { readGgufModel } from '../../src/models/gguf/registry.js';
import { chooseGguf, readGgufFiles } from '../../src/repack/gguf-files.js';
import { buildGgufPlan } from '../../src/repack/gguf-plan.js';
import { fixture } from './fixtures.js';
import { ggufFile, type Pair, type Tensor } from './gguf-writer.js';

const FILE = readFileSync(join(fixture('gguf'), 'types.gguf'));
const read = (start: number, length: number) =>
  Promise.resolve(FILE.subarray(start, start + length));

test('a file with every type gives each tensor its name, type, shape and place', async () => {
  const { metadata, tensors } = await readGguf(read, FILE.length, 'types.gguf');
  expect(metadata.get('general.architecture')).toBeTypeOf('string');
  const types = new Set(tensors.map(({ type }) => type));
  for (const type of ['F32', 'F16', 'BF16', 'Q4_0', 'Q4_1', 'Q5_0', 'Q5_1', 'Q8_0'])
    expect(types).toContain(type);
  for (const bits of [2, 3, 4, 5, 6]) expect(types).toContain(`Q${bits}_K`);
  const last = tensors.reduce((a, b) => (a.offset > b.offset ? a : b));
  expect(FILE.length - (last.offset + last.size)).toBeLessThan(64);
});

test('a header that was read in part asks for more, and no file ends inside one', async () => {
  expect(parseGguf(FILE.subarray(0, 100), FILE.length, 'a.gguf')).toBeNull();
  await expect(readGguf(read, 100, 'a.gguf')).rejects.toThrow('ends inside its header');
});

describe('a hostile header is refused by name:', () => {
  const changed = (at: number, bytes: number[]): Buffer => {
    const file = Buffer.from(FILE);
    file.set(bytes, at);
    return file;
  };
  test.each<[string, Buffer, string]>([
    ['another file', changed(0, [0x50]), 'is no GGUF file'],
    ['big-endian', changed(4, [0, 0, 0, 3]), 'big-endian'],
    ['version 4', changed(4, [4, 0, 0, 0]), 'unknown version 4'],
    ['version 1', changed(4, [1, 0, 0, 0]), 'version 1'],
    ['tensors without end', changed(8, [255, 255, 255, 255, 255, 255, 255, 255]), 'tensors'],
    ['pairs without end', changed(16, [255, 255, 255, 255, 255, 255, 255, 255]), 'metadata pairs'],
    ['a key without end', changed(24, [255, 255, 255, 255, 255, 255, 255, 255]), 'a text of'],
    ['a file that was cut off', FILE.subarray(0, FILE.length - 2000), 'reaches to byte'],
  ])('%s', (_, file, message) => {
    expect(() => parseGguf(file, file.length, 'a.gguf')).toThrow(message);
  });

  test('any change of its bytes is read, or refused with a FlashmoeError', () => {
    const seconds = Number(process.env['FLASHMOE_FUZZ_SECONDS'] ?? 1);
    const header = 8192;
    let runs = 0;
    const change = fc.array(
      fc.tuple(fc.nat(header - 1), fc.oneof(fc.nat(255), fc.constantFrom(0, 127, 128, 255))),
      { minLength: 1, maxLength: 12 },
    );
    const property = fc.property(change, (changes) => {
      const file = Buffer.from(FILE);
      for (const [at, value] of changes) file[at] = value;
      runs += 1;
      try {
        for (const { offset, size } of parseGguf(file, file.length, 'a.gguf')?.tensors ?? []) {
          expect(offset + size).toBeLessThanOrEqual(file.length);
        }
      } catch (error) {
        expect(error).toBeInstanceOf(FlashmoeError);
      }
    });
    fc.assert(property, { interruptAfterTimeLimit: seconds * 1000, numRuns: 1e9 });
    console.log(`${runs} changed headers`);
    expect(runs).toBeGreaterThan(100);
  }, 3_600_000);
});

const pairs: Pair[] = [
  ['general.architecture', 'string', 'qwen3moe'],
  ['deep', 'lists', [[1, 2], [3]]],
  ['wide', 'u64', 2n ** 40n],
  ['signed', 'i8', -3],
];
const tensor = (name: string, changes: Partial<Tensor> = {}): Tensor => ({
  ...{ name, dims: [256, 2], type: 12, offset: null, bytes: 288 },
  ...changes,
});
const parsed = (file: Buffer) => parseGguf(file, file.length, 'a.gguf');

describe('a writer may', () => {
  test('use version 2, another alignment, arrays of arrays and any width of number', () => {
    const file = ggufFile({
      version: 2,
      pairs: [...pairs, ['general.alignment', 'u32', 64]],
      tensors: [tensor('a.weight'), tensor('b.weight')],
    });
    const header = parsed(file);
    expect(header?.metadata.get('wide')).toBe(2 ** 40);
    expect(header?.metadata.get('signed')).toBe(-3);
    expect(header?.tensors.map(({ offset }) => offset % 64)).toEqual([0, 0]);
    expect(header?.tensors[0]?.shape).toEqual([2, 256]);
  });

  test('leave a hole between tensors, and put them in any order', () => {
    const tensors = [tensor('b', { offset: 640 }), tensor('a', { offset: 0 })];
    expect(parsed(ggufFile({ pairs, tensors }))?.tensors).toHaveLength(2);
  });
});

describe('a tensor is refused by name that', () => {
  test.each<[string, Partial<Tensor>[], string]>([
    ['is there twice', [{ name: 'a' }], 'tensor "a" twice'],
    ['overlaps another', [{ name: 'b', offset: 256 }], '"b" overlaps another'],
    ['is not aligned', [{ name: 'b', offset: 296 }], '"b" is not aligned'],
    ['has a withdrawn type', [{ name: 'b', type: 4 }], '"b" is of the Q4_2, which was withdrawn'],
    ['has a type of no file', [{ name: 'b', type: 9 }], '"b" is of the Q8_1, which no file holds'],
    ['has a type of nobody', [{ name: 'b', type: 99 }], '"b" is of the unknown type 99'],
    ['has no dimensions', [{ name: 'b', dims: [] }], '"b" has 0 dimensions'],
    ['has five', [{ name: 'b', dims: [256, 1, 1, 1, 1] }], '"b" has 5 dimensions'],
    ['has part of a block', [{ name: 'b', dims: [200, 2] }], 'rows of 200, no multiple of 256'],
    ['is empty', [{ name: 'b', dims: [256, 0] }], 'impossible shape [256, 0]'],
    ['is larger than numbers', [{ name: 'b', dims: [2 ** 40, 2 ** 40] }], 'impossible shape'],
    ['has a long name', [{ name: 'x'.repeat(65) }], 'a text of 65 bytes'],
  ])('%s', (_, changes, message) => {
    const tensors = [tensor('a'), ...changes.map((each) => tensor('a', each))];
    expect(() => parsed(ggufFile({ pairs, tensors }))).toThrow(message);
  });

  test('a key that is there twice, and an alignment that is none', () => {
    expect(() => parsed(ggufFile({ pairs: [...pairs, ...pairs], tensors: [] }))).toThrow('twice');
    for (const value of [0, 7, 1 << 20]) {
      const odd: Pair[] = [['general.alignment', 'u32', value]];
      expect(() => parsed(ggufFile({ pairs: odd, tensors: [] }))).toThrow('impossible alignment');
    }
  });
});

test('a header of many megabytes is read once, and one that only claims to be long is given up', async () => {
  const tokens = Array.from({ length: 200_000 }, (_, i) => `token ${i}`);
  const file = ggufFile({ pairs: [...pairs, ['t', 'strings', tokens]], tensors: [tensor('a')] });
  let bytes = 0;
  const counted = (start: number, length: number) => {
    expect(start).toBe(bytes);
    bytes += length;
    return Promise.resolve(file.subarray(start, start + length));
  };
  const { metadata } = await readGguf(counted, file.length, 'a.gguf');
  expect(new GgufMetadata(metadata).texts('t')?.at(-1)).toBe('token 199999');
  expect(bytes).toBeLessThanOrEqual(file.length);
  const endless = Buffer.concat([file.subarray(0, 24), Buffer.alloc(8 << 20)]);
  endless.writeBigUInt64LE(100_000n, 16);
  expect(() => parseGguf(endless, 2 ** 50, 'a.gguf')).toThrow('occurs twice');
});

describe('files in parts', () => {
  const part = (no: number, count: number, of: string[], total = 2): Buffer =>
    ggufFile({
      pairs: [
        ...(no === 0 ? pairs : []),
        ['split.no', 'u16', no],
        ['split.count', 'u16', count],
        ['split.tensors.count', 'i32', total],
      ],
      tensors: of.map((name) => tensor(name)),
    });
  const read = (...files: Buffer[]) =>
    readGgufFiles(
      files.map((file, i) => ({
        ...{ path: `m-${i}.gguf`, size: file.length, sha256: '' },
        read: (start, length) => Promise.resolve(file.subarray(start, start + length)),
      })),
    );

  test('make one model, with the metadata of the first', async () => {
    const { metadata, inventory } = await read(part(0, 2, ['a']), part(1, 2, ['b']));
    expect(metadata.architecture).toBe('qwen3moe');
    expect([...inventory.tensors.values()].map(({ shard }) => shard)).toEqual([
      'm-0.gguf',
      'm-1.gguf',
    ]);
  });

  test.each<[string, Buffer[], string]>([
    ['that say another count', [part(0, 3, ['a']), part(1, 3, ['b'])], 'is one of 3 parts'],
    ['in another order', [part(1, 2, ['b']), part(0, 2, ['a'])], 'is part 2'],
    ['that share a tensor', [part(0, 2, ['a']), part(1, 2, ['a'])], 'as m-0.gguf does'],
    ['with a tensor too few', [part(0, 2, ['a'], 3), part(1, 2, ['b'], 3)], 'says 3 tensors'],
  ])('%s are refused', async (_, files, message) => {
    await expect(read(...files)).rejects.toThrow(message);
  });

  test('are chosen by a pattern, by one of them, and by the folder they are in', () => {
    const parts = [1, 2].map((i) => `Q4/m-Q4_K_M-0000${i}-of-00002.gguf`);
    const all = ['README.md', 'm-Q8_0.gguf', 'mmproj-BF16.gguf', ...parts];
    for (const pattern of ['*q4_k_m*', 'Q4/*', 'm-Q4_K_M-00002-of-00002.gguf']) {
      expect(chooseGguf(all, pattern)).toEqual(parts);
    }
    expect(chooseGguf(all, '*8_?.gguf')).toEqual(['m-Q8_0.gguf']);
    expect(() => chooseGguf(all, null)).toThrow(/several GGUF files: Q4\/m-.*00001.*, m-Q8_0/);
    expect(chooseGguf(['README.md'], null)).toBeNull();
    expect(chooseGguf(['mmproj-BF16.gguf', 'm.gguf'], null)).toEqual(['m.gguf']);
  });
});

test('any change of the header of a model is planned, or refused with a FlashmoeError', async () => {
  const path = join(fixture('gguf'), 'qwen3moe-mixed', 'qwen3moe-mixed.gguf');
  const whole = readFileSync(path);
  const seconds = Number(process.env['FLASHMOE_FUZZ_SECONDS'] ?? 2);
  const end = Date.now() + seconds * 1000;
  let [runs, planned] = [0, 0];
  let state = 20_261;
  const random = (below: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  while (Date.now() < end) {
    const file = Buffer.from(whole.subarray(0, 1 << 20));
    for (let i = random(8); i >= 0; i -= 1) {
      const values = [random(256), 0, 1, 127, 128, 255];
      file[random(17_440)] = values[random(values.length)] ?? 0;
    }
    runs += 1;
    try {
      const read = (start: number, length: number) =>
        Promise.resolve((start === 0 ? file : whole).subarray(start, start + length));
      const source = { path: 'm.gguf', size: whole.length, sha256: 'a'.repeat(64), read };
      const files = await readGgufFiles([source]);
      const model = readGgufModel(files.metadata, (name) => files.inventory.tensors.has(name));
      ggufSideFiles(files.metadata, model);
      buildGgufPlan({ ...files, repo: 'a/b', commit: 'c'.repeat(40), quant: '4bit' });
      planned += 1;
    } catch (error) {
      if (!(error instanceof FlashmoeError)) throw error;
    }
  }
  console.log(`${runs} changed models, ${planned} of them still one`);
  expect(runs).toBeGreaterThan(20);
}, 3_600_000);
