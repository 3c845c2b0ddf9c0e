import {
  appendFile,
  cp,
  mkdtemp,
  open,
  readFile,
  rename,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { packDirectory } from '../../src/repack/pack-directory.js';
import {
  contentSha256,
  packedFiles,
  verifyFiles,
  type VerifyOptions,
} from '../../src/repack/verify.js';
import { fixture, testAddon } from './fixtures.js';

let dir: string;
let whole: string;
let model: string;
const options = { addon: testAddon() };

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'flashmoe-verify-'));
  whole = join(dir, 'whole');
  await packDirectory(fixture('qwen3_moe'), whole, { ...options, quant: '4bit', threads: 1 });
});
afterAll(() => rm(dir, { recursive: true, force: true }));
beforeEach(async () => {
  model = await mkdtemp(join(dir, 'model-'));
  await cp(whole, model, { recursive: true });
});

const layer = 'packed_experts/layer_01.bin';
const verify = async (more: Partial<VerifyOptions> = {}) =>
  verifyFiles(model, await packedFiles(model), { ...options, ...more });
const damage = async (more: Partial<VerifyOptions> = {}) =>
  (await verify(more)).filter((file) => file.problem !== null);

test('a model as it was packed has no findings, and equal content has an equal hash', async () => {
  expect(await damage()).toEqual([]);
  const files = await packedFiles(model);
  expect(files.map(({ path }) => path)).toEqual([
    'model_weights.bin',
    'packed_experts/layer_00.bin',
    layer,
    'packed_experts/layer_02.bin',
  ]);
  expect(contentSha256(files.toReversed())).toBe(contentSha256(await packedFiles(whole)));
});

test('progress ends with every byte of every file', async () => {
  let last = { done: 0, total: 0 };
  await verify({ onProgress: (_, done, total) => (last = { done, total }) });
  const files = await packedFiles(model);
  expect(last.done).toBe(last.total);
  expect(last.total).toBe(files.reduce((sum, { size }) => sum + size, 0));
});

test('one flipped bit is found and its file named', async () => {
  const file = await open(join(model, layer), 'r+');
  const byte = new Uint8Array(1);
  await file.read(byte, 0, 1, 70_000);
  await file.write(new Uint8Array([(byte[0] ?? 0) ^ 1]), 0, 1, 70_000);
  await file.close();
  expect(await damage()).toMatchObject([
    { path: layer, problem: expect.stringContaining('sha256') as string },
  ]);
});

test('a missing, a longer and a replaced file are told apart', async () => {
  await rm(join(model, layer));
  expect((await damage())[0]?.problem).toBe('is missing');
  await cp(join(whole, layer), join(model, layer));
  await appendFile(join(model, layer), 'x');
  expect((await damage())[0]?.problem).toMatch(/^is \d+ bytes, should be \d+$/);
  await rename(join(model, layer), join(model, 'elsewhere'));
  await symlink(join(whole, layer), join(model, layer));
  expect((await damage())[0]?.problem).toBe('is not a regular file');
});

test('a manifest that names a file elsewhere is refused', async () => {
  const path = join(model, 'packed_experts', 'layout.json');
  const text = await readFile(path, 'utf8');
  await writeFile(path, text.replace('layer_01.bin', '../../layer_01.bin'));
  await expect(packedFiles(model)).rejects.toMatchObject({ code: 'ERR_MODEL_DAMAGED' });
});

test('an aborted verification is an interruption, not a finding', async () => {
  const signal = AbortSignal.abort();
  await expect(verify({ signal })).rejects.toMatchObject({
    code: 'ERR_INTERRUPTED',
  });
});
