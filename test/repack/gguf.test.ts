// The reader of GGUF headers: a file with every type, hostile files, and repositories that hold nothing else.

import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FlashmoeError } from '../../src/base/errors.js';
import { parseGguf, readGguf } from '../../src/repack/gguf.js';
import { setUp } from '../installer/in-process.js';
import { FaultHub } from '../helpers/hub/fault-hub.js';
import { testSettings } from '../helpers/hub/settings.js';
import { fixture } from './fixtures.js';

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

test('a repository of GGUF files only is refused with what it holds and what works instead', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'fm-gguf-'));
  await mkdir(join(folder, 'repo'));
  await writeFile(join(folder, 'repo', 'model-Q2_K.gguf'), FILE);
  const hub = await FaultHub.start(join(folder, 'repo'), 'flashmoe/tiny');
  try {
    const { error } = await setUp(join(folder, 'home'), {
      request: { bundled: null },
      world: { hub: testSettings(hub.endpoint) },
    });
    expect(error?.code).toBe('ERR_UNSUPPORTED_MODEL');
    expect(error?.message).toMatch(/model-Q2_K\.gguf is a GGUF file .*Q2_K.*nothing was fetched/);
    expect(error?.hint).toContain('MLX conversion');
  } finally {
    await hub.close();
    await rm(folder, { recursive: true });
  }
});
