import { createHash, randomInt } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { runJob } from '../../src/addon/load.js';
import type { ErrorSums, WriteCheckpoint, WriteJob, WritePosition } from '../../src/addon/types.js';
import { packageRoot } from '../../src/base/package-root.js';
import {
  packDirectory,
  type PackDirectoryOptions,
  planDirectory,
} from '../../src/repack/pack-directory.js';
import {
  buildWritePlan,
  type WritePlan,
  type WritePlanInput,
} from '../../src/repack/write-plan.js';
import { writePlanPeak } from '../../src/repack/write-plan-peak.js';
import { rangesFrom } from '../../src/repack/write-plan-ranges.js';
import { testCalibration } from '../installer/calibrations.js';
import { fixture, testAddon } from './fixtures.js';

const addon = testAddon();
type Made = '4bit' | '2bit' | '3bit' | 'tiered';
/** Experts of the fixture fill one page at every width; those of the bundled model do not. */
const sourceOf = (quant: Made): string =>
  quant === 'tiered' ? join(packageRoot, 'models', 'tiny') : fixture('qwen3_5_moe');
const WINDOW = 1 << 20;
let dir: string;
let source = sourceOf('4bit');

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'flashmoe-tape-'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

function job(
  writes: WritePlan,
  folder: string,
  from: WritePosition | null = null,
  sums: ErrorSums | null = null,
): WriteJob {
  const names = writes.files.map((file) =>
    file.kind === 'layer' ? `layer-${file.layer}` : file.kind === 'dense' ? 'dense' : file.name,
  );
  return {
    ...{ items: writes.items, window: WINDOW, binding: writes.fingerprint, from, sums },
    ...{ threads: 2, method: 'search' as const },
    files: writes.files.map(({ size }, index) => ({
      path: join(folder, names[index] ?? ''),
      size,
    })),
    spool: join(folder, 'spool'),
    mark: join(folder, 'mark'),
    importance: writes.items.some(
      (item) => item.type === 'bytes' && 'importance' in item.place && item.place.importance,
    )
      ? join(dir, 'calibration.safetensors')
      : null,
  };
}

/** Puts what is missing in a random order, cut at random; stops before the position `until`. */
async function feed(
  writes: WritePlan,
  to: WriteJob,
  { until = Infinity, journalled = 0, change = (bytes: Buffer) => bytes } = {},
): Promise<{ state: WriteCheckpoint; fetched: number }> {
  const shards = new Map<string, Buffer>();
  for (const { shard } of writes.runs) shards.set(shard, await readFile(join(source, shard)));
  const writer = addon.openTape(to);
  let fetched = 0;
  try {
    const { placed, received } = writer.state();
    const ranges = [...rangesFrom(writes.runs, placed, received, 32_768)].filter(
      ({ at }) => at < until,
    );
    const batches: (typeof ranges)[] = [];
    while (ranges.length > 0) batches.push(ranges.splice(0, 8).sort(() => randomInt(3) - 1));
    const puts = batches.flat().map(({ shard, start, end, at }) => {
      const bytes = change(
        Buffer.from((shards.get(shard) ?? Buffer.alloc(0)).subarray(start, end)),
      );
      fetched += bytes.length;
      const cut = randomInt(bytes.length + 1);
      return writer.put(at, [bytes.subarray(0, cut), bytes.subarray(cut)]);
    });
    await Promise.all(puts);
    return { state: await writer.checkpoint(true, journalled), fetched };
  } finally {
    await writer.close();
  }
}

async function madeBy(writes: WritePlan, folder: string): Promise<Record<string, string>> {
  const made: Record<string, string> = {};
  for (const file of writes.files) {
    const name = file.kind === 'layer' ? `layer-${file.layer}` : 'dense';
    if (file.kind !== 'scratch') made[name] = await hashOf(join(folder, name));
  }
  return made;
}

/** The same files from whole shards. */
async function packed(quant: Made): Promise<Record<string, string>> {
  const target = join(dir, 'whole');
  const { plan, expertsDir } = await packDirectory(sourceOf(quant), target, await optionsOf(quant));
  const layers = plan.layers.map(async ({ layer, file }): Promise<[string, string]> => [
    `layer-${layer}`,
    await hashOf(join(expertsDir, file)),
  ]);
  const dense = await hashOf(join(target, plan.dense.file));
  return Object.fromEntries([['dense', dense] as [string, string], ...(await Promise.all(layers))]);
}

async function hashOf(path: string): Promise<string> {
  return createHash('sha256')
    .update(await readFile(path))
    .digest('hex');
}

const nothing = { layers: new Set<number>(), dense: false };
const planOf = async (quant: Made) => planDirectory(sourceOf(quant), await optionsOf(quant));

async function optionsOf(quant: Made): Promise<PackDirectoryOptions> {
  const options = { addon, quant, threads: 1 };
  if (quant !== 'tiered') return options;
  const calibration = join(dir, 'calibration.safetensors');
  const pack = await planDirectory(sourceOf(quant), { ...options, quant: '2bit' });
  const uses = (expert: number, layer: number): number => (expert * 7 + layer * 3) % 32;
  await writeFile(calibration, testCalibration({ pack }, 1, uses));
  return { ...options, size: 8_500_000, calibration };
}

/** The shards with their tensors' order turned round, so that parameters lie behind their codes. */
function reversed(plan: WritePlanInput): WritePlanInput {
  return { ...plan, order: [...plan.order].reverse() };
}

/** In the plan's order, and in one in which parameters lie behind their codes. */
async function expectWhole(quant: Made): Promise<void> {
  const plan = await planOf(quant);
  for (const each of [plan, reversed(plan)]) {
    const writes = buildWritePlan(each, nothing);
    const shardBytes = plan.shards.reduce((sum, { size }) => sum + size, 0);
    expect(writes.length).toBe(shardBytes);
    expect(writes.runs.reduce((sum, { start, end }) => sum + end - start, 0)).toBe(shardBytes);
    const folder = join(dir, each.order[0] ?? '');
    await mkdir(folder);
    const { state, fetched } = await feed(writes, job(writes, folder));
    expect(fetched).toBe(shardBytes);
    expect(state).toMatchObject({ at: writes.length, item: writes.items.length });
    expect(await madeBy(writes, folder)).toEqual(await packed(quant));
    expect(await bytesIn(folder)).toBeLessThanOrEqual(
      writePlanPeak(writes, writes.length) + WINDOW + 16_384,
    );
  }
}

describe.each(['4bit', '2bit', '3bit'] as const)('a write plan at %s', (quant) => {
  test('fetches every byte of every shard once and makes what whole shards make', () =>
    expectWhole(quant));

  test('goes on from its mark without fetching again what had arrived', async () => {
    const writes = buildWritePlan(await planOf(quant), nothing);
    const first = await feed(writes, job(writes, dir), { until: writes.length / 3 });
    const rest = await feed(writes, job(writes, dir));
    expect(first.fetched + rest.fetched).toBe(writes.length);
    expect(await madeBy(writes, dir)).toEqual(await packed(quant));
  });

  test('goes on from the journal when its mark and its spool are lost', async () => {
    const writes = buildWritePlan(await planOf(quant), nothing);
    const { state } = await feed(writes, job(writes, dir), { until: writes.length / 2 });
    await rm(join(dir, 'mark'));
    await rm(join(dir, 'spool'));
    await feed(writes, job(writes, dir, state));
    expect(await madeBy(writes, dir)).toEqual(await packed(quant));
  });

  test('ends at a seal whose digest is another, and tells it', async () => {
    const writes = buildWritePlan(await planOf(quant), nothing);
    const flip = (bytes: Buffer) =>
      Buffer.from(bytes.map((byte, i) => (i === 7 ? byte ^ 1 : byte)));
    await expect(feed(writes, job(writes, dir), { change: flip })).rejects.toMatchObject({
      code: 'ERR_HASH',
    });
    const writer = addon.openTape(job(writes, dir));
    await expect(writer.checkpoint(true, 0)).rejects.toMatchObject({ code: 'ERR_HASH' });
    const { mismatch } = writer.state();
    expect(writes.items[mismatch?.item ?? -1]).toMatchObject({ type: 'seal' });
    await writer.close();
  });
});

test('a tiered write plan does, too, with experts of two lengths beside each other', async () => {
  source = sourceOf('tiered');
  try {
    await expectWhole('tiered');
  } finally {
    source = sourceOf('4bit');
  }
});

test('the errors of requantising are the same sums wherever the work was cut', async () => {
  const writes = buildWritePlan(await planOf('2bit'), nothing);
  const requantised = writes.items.flatMap((item, index) =>
    item.type === 'bytes' && item.place.kind === 'requantise' ? [index] : [],
  );
  const whole = join(dir, 'at-once');
  await mkdir(whole);
  const { errors } = (await feed(writes, job(writes, whole))).state;
  expect(errors.map(({ item }) => item)).toEqual(requantised);
  for (const each of errors) expect(each.squaredError).toBeLessThan(each.rangeError);
  for (const lost of [false, true]) {
    const folder = join(dir, lost ? 'lost' : 'kept');
    await mkdir(folder);
    const told = new Map<number, WriteCheckpoint['errors'][number]>();
    let state: WriteCheckpoint | null = null;
    for (let part = 1; part <= 7; part++) {
      // The process ends after each part; once also without its mark, as after a power cut.
      const sums: ErrorSums | null = (state && told.get(state.item)) ?? null;
      if (lost) for (const name of ['mark', 'spool']) await rm(join(folder, name), { force: true });
      const until = part === 7 ? Infinity : (writes.length * part) / 7;
      const journalled: number = state?.item ?? 0;
      ({ state } = await feed(writes, job(writes, folder, state, sums), { until, journalled }));
      expect(state.errors.every(({ item }) => item >= journalled)).toBe(true);
      for (const each of state.errors) told.set(each.item, each);
    }
    expect([...told.values()]).toEqual(errors);
  }
});

test('a chain finds the block of a flipped byte and no other', async () => {
  const path = join(dir, 'file');
  const bytes = Buffer.alloc((16 << 20) * 2 + 1000, 7);
  await writeFile(path, bytes);
  const { chain, sha256 } = await runJob(addon.hashFile(path, () => undefined));
  expect(chain).toHaveLength(3);
  expect(chain.at(-1)).toBe(sha256);
  const check = () => runJob(addon.checkBlocks(path, chain, () => undefined));
  expect(await check()).toEqual({ bad: [], bytes: bytes.length });
  for (const [block, at] of [
    [0, 5],
    [1, (16 << 20) + 70],
    [2, bytes.length - 1],
  ] as const) {
    const changed = Buffer.from(bytes);
    changed[at] = 8;
    await writeFile(path, changed);
    expect((await check()).bad).toEqual([block]);
  }
});

async function bytesIn(folder: string): Promise<number> {
  const sizes = (await readdir(folder)).map(async (name) => {
    const { blocks, size } = await stat(join(folder, name));
    return Math.min(blocks * 512, size);
  });
  return (await Promise.all(sizes)).reduce((a, b) => a + b, 0);
}
