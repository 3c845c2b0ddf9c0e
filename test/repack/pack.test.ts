import { createHash } from 'node:crypto';
import {
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { runJob } from '../../src/addon/load.js';
import type { DenseManifest, ExpertsManifest } from '../../src/models/spec.js';
import { manifestBytes } from '../../src/repack/manifests.js';
import {
  extractDense,
  finishDense,
  packLayer,
  type PackTarget,
  writeLayout,
} from '../../src/repack/pack.js';
import { packDirectory, planDirectory } from '../../src/repack/pack-directory.js';
import { schedule } from '../../src/repack/schedule.js';
import type { PackPlan } from '../../src/repack/types.js';
import { fixture, testAddon } from './fixtures.js';

const addon = testAddon();
const source = fixture('qwen3_5_moe');
let plan: PackPlan;
let dir: string;
let target: PackTarget;

beforeAll(async () => {
  plan = await planDirectory(source, { addon, quant: '2bit', threads: 1 });
});
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'flashmoe-pack-'));
  target = {
    addon,
    root: join(dir, 'model'),
    expertsDir: join(dir, 'model', 'packed_experts_2bit'),
    shardPath: (shard) => join(source, shard),
    threads: 2,
  };
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

/** path → hash of every file below a folder. */
async function hashes(folder: string): Promise<Record<string, string>> {
  const names = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = names.filter((entry) => entry.isFile()).map((e) => join(e.parentPath, e.name));
  const entries = files.sort().map(async (file): Promise<[string, string]> => {
    return [file.slice(folder.length + 1), sha256(await readFile(file))];
  });
  return Object.fromEntries(await Promise.all(entries));
}

/** All steps of the plan's schedule, as a pipeline runs them. */
async function execute(to: PackTarget): Promise<void> {
  const packed = new Map<number, string>();
  for (const step of schedule(plan)) {
    if (step.type === 'dense') await extractDense(plan, step.shard, to);
    if (step.type === 'layer')
      packed.set(step.layer, (await packLayer(plan, step.layer, to)).sha256);
  }
  await finishDense(plan, to);
  await writeLayout(plan, packed, to);
}

test('the steps of a schedule give exactly the planned files and bytes', async () => {
  await execute(target);
  const files = Object.keys(await hashes(target.root));
  expect(files).toEqual(
    [
      'model_weights.bin',
      'model_weights.json',
      ...plan.layers.map(({ file }) => `packed_experts_2bit/${file}`),
      'packed_experts_2bit/layout.json',
    ].sort(),
  );
  const sizes = await Promise.all(files.map(async (f) => (await stat(join(target.root, f))).size));
  expect(sizes.reduce((a, b) => a + b)).toBe(plan.finalBytes);
  expect(manifestBytes(plan)).toBeGreaterThan(0);
});

test('what packDirectory writes is the same', async () => {
  await execute(target);
  const whole = join(dir, 'whole');
  await packDirectory(source, whole, { addon, quant: '2bit', threads: 3 });
  const own = await hashes(target.root);
  expect(await hashes(whole)).toMatchObject(own);
});

test('steps that are repeated after a crash give the same files', async () => {
  await execute(target);
  const before = await hashes(target.root);
  // A second run over finished files, and one over the leavings of an earlier plan.
  await execute(target);
  expect(await hashes(target.root)).toEqual(before);
  await rm(target.root, { recursive: true });
  await mkdir(target.expertsDir, { recursive: true });
  const rubbish = Buffer.alloc(plan.dense.size + 1000, 0xff);
  await writeFile(join(target.root, 'model_weights.bin.partial'), rubbish);
  await writeFile(join(target.expertsDir, 'layer_00.bin.partial'), rubbish);
  await execute(target);
  expect(await hashes(target.root)).toEqual(before);
});

test('a dense file that lacks a shard is not published', async () => {
  const [first] = plan.order;
  await extractDense(plan, first ?? '', target);
  await expect(finishDense(plan, target)).rejects.toMatchObject({ code: 'ERR_MODEL_DAMAGED' });
  expect(await readdir(target.root)).toEqual(['model_weights.bin.partial']);
});

test('the manifests say what was written', async () => {
  await execute(target);
  const read = async <T>(...path: string[]) =>
    JSON.parse(await readFile(join(target.root, ...path), 'utf8')) as T;
  const dense = await read<DenseManifest>('model_weights.json');
  expect(dense).toMatchObject({
    format: 'flashmoe-dense',
    version: 1,
    num_tensors: plan.dense.entries.length,
    config: { modelType: 'qwen3_5_moe', layers: { length: 8 } },
  });
  expect(dense.tensors['model.layers.0.mlp.gate.weight']).toMatchObject({
    bits: 8,
    group_size: 64,
  });
  expect(dense.tensors['model.layers.0.linear_attn.A_log']).toMatchObject({ dtype: 'F32' });
  const experts = await read<ExpertsManifest>('packed_experts_2bit', 'layout.json');
  expect(experts).toMatchObject({ quant: '2bit', num_experts: 16, layers: { length: 8 } });
  expect(experts.layouts[0]?.components.map(({ name }) => name)).toEqual(
    ['gate_proj', 'up_proj', 'down_proj'].flatMap((p) =>
      ['weight', 'scales', 'biases'].map((part) => `${p}.${part}`),
    ),
  );
});

describe('through the addon', () => {
  test('an aborted layer has no final name and is an interruption', async () => {
    const aborted = { ...target, signal: AbortSignal.abort() };
    await expect(packLayer(plan, 0, aborted)).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
    expect(await readdir(target.expertsDir)).not.toContain('layer_00.bin');
  });

  test('an abort stops a job in the middle', async () => {
    const file = join(dir, 'sparse');
    await writeFile(file, '');
    await truncate(file, 64 * 2 ** 30);
    const controller = new AbortController();
    let seen = 0;
    const job = addon.hashFile(file, (done) => {
      seen = done;
      controller.abort();
    });
    await expect(runJob(job, controller.signal)).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
    expect(seen).toBeLessThan(2 ** 30);
  });

  test('a source that ends early is named', async () => {
    const short = join(dir, 'short.safetensors');
    await writeFile(short, 'too short');
    const failing = { ...target, shardPath: () => short };
    await expect(packLayer(plan, 0, failing)).rejects.toMatchObject({
      code: 'ERR_IO',
      message: expect.stringContaining('short.safetensors: is 9 bytes') as string,
    });
    await expect(extractDense(plan, plan.order[0] ?? '', failing)).rejects.toMatchObject({
      code: 'ERR_IO',
    });
  });

  test('a layer that the plan does not have is an error', async () => {
    await expect(packLayer(plan, 99, target)).rejects.toMatchObject({ code: 'ERR_PLAN' });
  });

  test('a symbolic link is never written through', async () => {
    const precious = join(dir, 'precious');
    await writeFile(precious, 'keep me');
    await mkdir(target.expertsDir, { recursive: true });
    await symlink(precious, join(target.expertsDir, 'layer_00.bin.partial'));
    await expect(packLayer(plan, 0, target)).rejects.toMatchObject({ code: 'ERR_IO' });
    // In the final name's place it is replaced.
    await symlink(precious, join(target.expertsDir, 'layer_01.bin'));
    await packLayer(plan, 1, target);
    expect(await readFile(precious, 'utf8')).toBe('keep me');
  });

  test.each<[string, () => { done: Promise<unknown> }, string]>([
    ['no object', () => addon.copyRanges(null as never, () => undefined), 'job must be an object'],
    [
      'a negative offset',
      () =>
        addon.copyRanges(
          {
            target: 'x',
            sync: false,
            ranges: [{ source: 'a', sourceOffset: -1, targetOffset: 0, size: 1 }],
          },
          () => undefined,
        ),
      'sourceOffset',
    ],
    [
      'a fraction',
      () =>
        addon.copyRanges(
          {
            target: 'x',
            sync: false,
            ranges: [{ source: 'a', sourceOffset: 0.5, targetOffset: 0, size: 1 }],
          },
          () => undefined,
        ),
      'sourceOffset',
    ],
    [
      'a path with NUL',
      () => addon.copyRanges({ target: 'x\0y', sync: false, ranges: [] }, () => undefined),
      'target',
    ],
    ['no path', () => addon.hashFile(7 as never, () => undefined), 'path must be a string'],
    [
      'an unknown method',
      () =>
        addon.packLayer(
          {
            target: 'x',
            experts: 1,
            expertStride: 1,
            projections: [],
            method: 'fast' as never,
            threads: 1,
          },
          () => undefined,
        ),
      'method',
    ],
    [
      'no projections',
      () =>
        addon.packLayer(
          {
            target: 'x',
            experts: 1,
            expertStride: 1,
            projections: [],
            method: 'search',
            threads: 1,
          },
          () => undefined,
        ),
      'no projections',
    ],
  ])('a job with %s fails by name', async (_, start, message) => {
    await expect(start().done).rejects.toMatchObject({
      code: 'ERR_PLAN',
      message: expect.stringContaining(message) as string,
    });
  });

  test('sha256 of any file is that of node', async () => {
    const file = join(dir, 'bytes');
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 5000 }), async (bytes) => {
        await writeFile(file, bytes);
        const hash = await runJob(addon.hashFile(file, () => undefined));
        const whole = sha256(bytes);
        expect(hash).toEqual({ sha256: whole, bytes: bytes.length, chain: [whole] });
      }),
      { numRuns: 100 },
    );
    const large = Buffer.alloc((9 << 20) + 13, 'flashmoe');
    await writeFile(file, large);
    let last = 0;
    const { sha256: hash } = await runJob(addon.hashFile(file, (done) => (last = done)));
    expect(hash).toBe(sha256(large));
    expect(last).toBe(large.length);
  });
});
