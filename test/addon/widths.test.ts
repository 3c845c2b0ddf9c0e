// Widths that no fixture has: the codes of a fixture stored in more bits and in smaller groups are the same numbers, so
// that the engine must give the reference's logits; and three bits are four whose highest is never set.

import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { fixture, testAddon } from '../repack/fixtures.js';
import { deviations, packFixture, readGolden } from './golden.js';

const addon = testAddon();
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'flashmoe-widths-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

interface Stored {
  dtype: string;
  shape: number[];
  bytes: Buffer;
}

/** Codes of 4 bits in groups of 64, again in `bits` and `group`; `change` may alter codes. */
function restored(
  tensors: Map<string, Stored>,
  module: string,
  { bits, group, change = (code: number) => code }: Width,
): void {
  const weight = tensors.get(`${module}.weight`);
  if (weight?.dtype !== 'U32' || weight.shape.at(-1) === undefined) return;
  const scales = tensors.get(`${module}.scales`);
  // The 8-bit gates of some fixtures stay as they are.
  if (
    scales === undefined ||
    ((weight.shape.at(-1) ?? 0) * 8) / (scales.shape.at(-1) ?? 1) !== 64
  ) {
    return;
  }
  const columns = (weight.shape.at(-1) ?? 0) * 8;
  const rows = (weight.bytes.length * 2) / columns;
  const packed = Buffer.alloc((rows * columns * bits) / 8);
  for (let i = 0; i < rows * columns; i += 1) {
    const code = change(((weight.bytes[i >> 1] ?? 0) >> (4 * (i & 1))) & 15);
    for (let b = 0; b < bits; b += 1) {
      const at = i * bits + b;
      packed[at >> 3] = (packed[at >> 3] ?? 0) | (((code >> b) & 1) << (at & 7));
    }
  }
  const lead = weight.shape.slice(0, -1);
  tensors.set(`${module}.weight`, {
    dtype: 'U32',
    shape: [...lead, (columns * bits) / 32],
    bytes: packed,
  });
  for (const part of ['scales', 'biases']) {
    const tensor = tensors.get(`${module}.${part}`);
    if (tensor === undefined) throw new Error(`${module}.${part} is missing`);
    const repeat = 64 / group;
    const bytes = Buffer.alloc(tensor.bytes.length * repeat);
    for (let i = 0; i < bytes.length / 2; i += 1) {
      tensor.bytes.copy(bytes, 2 * i, 2 * Math.floor(i / repeat), 2 * Math.floor(i / repeat) + 2);
    }
    tensors.set(`${module}.${part}`, {
      dtype: tensor.dtype,
      shape: [...lead, columns / group],
      bytes,
    });
  }
}

interface Width {
  bits: number;
  group: number;
  change?: (code: number) => number;
}

/** A fixture whose modules have the widths that `widthOf` says, in order of their names. */
async function variant(
  family: string,
  name: string,
  widthOf: (index: number) => Width,
): Promise<string> {
  const target = join(folder, name);
  await cp(fixture(family), target, { recursive: true });
  const tensors = new Map<string, Stored>();
  for (const file of (await readdir(target)).filter((f) => /^model-.*\.safetensors$/.test(f))) {
    const bytes = await readFile(join(target, file));
    const start = 8 + Number(bytes.readBigUInt64LE(0));
    const header = JSON.parse(bytes.toString('utf8', 8, start)) as Record<
      string,
      { dtype: string; shape: number[]; data_offsets: [number, number] }
    >;
    for (const [key, { dtype, shape, data_offsets }] of Object.entries(header)) {
      if (key === '__metadata__') continue;
      const [from, to] = data_offsets;
      tensors.set(key, { dtype, shape, bytes: bytes.subarray(start + from, start + to) });
    }
    await rm(join(target, file));
  }
  const modules = [...tensors.keys()].filter((key) => key.endsWith('.scales')).sort();
  modules.forEach((key, i) => restored(tensors, key.slice(0, -'.scales'.length), widthOf(i)));
  const header: Record<string, unknown> = {};
  let end = 0;
  for (const [key, { dtype, shape, bytes }] of tensors) {
    header[key] = { dtype, shape, data_offsets: [end, (end += bytes.length)] };
  }
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const all = [length, json, ...[...tensors.values()].map(({ bytes }) => bytes)];
  await writeFile(join(target, 'model.safetensors'), Buffer.concat(all));
  const map = Object.fromEntries([...tensors.keys()].map((key) => [key, 'model.safetensors']));
  await writeFile(
    join(target, 'model.safetensors.index.json'),
    JSON.stringify({ metadata: { total_size: end }, weight_map: map }),
  );
  return target;
}

async function logitsOf(source: string, prompt: Int32Array): Promise<Float32Array> {
  const options = await packFixture(addon, source, `${source}-packed`);
  const engine = await addon.openEngine({ ...options, cache: 'f32' }).done;
  const { logits } = await engine.createSession(64).evaluate(prompt, false).done;
  engine.close();
  return logits;
}

const EIGHT: Width = { bits: 8, group: 64 };
const MIX: Width[] = [4, 5, 6, 8].flatMap((bits) => [16, 32, 64].map((group) => ({ bits, group })));

test.each(['qwen3_moe', 'deepseek_v3', 'kimi_k2'])(
  'codes of %s in 4, 5, 6 and 8 bits and groups of 16, 32 and 64, mixed by module, are the same model',
  async (family) => {
    const golden = await readGolden(family);
    const source = await variant(family, `mixed-${family}`, (i) => MIX[i % MIX.length] ?? EIGHT);
    const off = deviations(
      await logitsOf(source, golden.prompt),
      golden.tensors.get('logits') ?? new Float32Array(),
    );
    console.log(`${family} in mixed widths: ${off.toExponential(1)}`);
    expect(off).toBeLessThan(1e-3);
  },
);

test('three bits are four bits whose highest is not set, and two bits those of two', async () => {
  const { prompt } = await readGolden('qwen3_moe');
  for (const bits of [3, 2]) {
    const change = (code: number) => code & ((1 << bits) - 1);
    const wide = await variant('qwen3_moe', `wide-${bits}`, () => ({ bits: 4, group: 64, change }));
    const narrow = await variant('qwen3_moe', `narrow-${bits}`, (i) => ({
      ...{ bits, change },
      group: [16, 32, 64][i % 3] ?? 64,
    }));
    const expected = await logitsOf(wide, prompt);
    expect(deviations(await logitsOf(narrow, prompt), expected)).toBeLessThan(1e-4);
  }
});
