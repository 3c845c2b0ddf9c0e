// What a plan says of a model's memory before it is here must be what the engine says of it afterwards.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openNative } from '../../src/engine/open-native.js';
import { CATALOG, catalogEntry } from '../../src/models/catalog.js';
import { planMemory, type ModelMemory } from '../../src/models/memory-plan.js';
import { memoryOfEntry, memoryOfSpec } from '../../src/models/model-memory.js';
import { packDirectory } from '../../src/repack/pack-directory.js';
import { fixture } from '../engine/fixtures.js';
import { testAddon } from '../repack/fixtures.js';

const TINY = join(import.meta.dirname, '..', '..', 'models', 'tiny');
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'flashmoe-model-memory-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

test.each([
  'tiny',
  'qwen3_5_moe',
  'qwen3_moe',
  'deepseek_v3',
  'kimi_k2',
  'qwen4_exp',
  'glm_moe_dsa',
  'gpt_oss',
])(
  'the plan of %s has the figures of the engine that then runs it',
  async (family) => {
    const addon = testAddon();
    const source = family === 'tiny' ? TINY : fixture(family);
    const { plan, modelDir, expertsDir } = await packDirectory(source, join(folder, family), {
      ...{ addon, quant: '4bit', threads: 1 },
    });
    const numbers = { threads: 1, ioThreads: 1, tokenLimit: 2 ** 31 - 1 };
    const native = await openNative({
      ...{ addon, id: family, modelDir, expertsDir, ...numbers, backend: 'cpu' },
    });
    const info = native.info();
    native.close();
    const { dense, layouts, layers, spec } = plan;
    const planned = memoryOfSpec(spec, { denseBytes: dense.size, layouts, layers });
    const { denseBytes, ...exact } = planned;
    expect(exact).toEqual(
      Object.fromEntries(Object.keys(exact).map((key) => [key, info[key as keyof typeof info]])),
    );
    // The engine counts whole pages, and what it keeps in another form.
    expect(Math.abs(info.denseBytes - denseBytes)).toBeLessThan(65_536);
  },
);

test('the catalogue says nearly what a model of it has', async () => {
  const { plan } = await packDirectory(TINY, join(folder, 'entry'), {
    ...{ addon: testAddon(), quant: '4bit', threads: 1 },
  });
  const { dense, layouts, layers, spec } = plan;
  const exact = memoryOfSpec(spec, { denseBytes: dense.size, layouts, layers });
  const near = memoryOfEntry(catalogEntry('tiny'), '4bit');
  for (const [name, value] of Object.entries(exact) as [keyof ModelMemory, number][]) {
    const said = near[name];
    // The catalogue knows strides: what an expert takes in a file, which is more than is computed with.
    if (name === 'expertBytesPerToken') {
      expect(said).toBeGreaterThanOrEqual(value);
      continue;
    }
    expect(Math.abs(said - value), name).toBeLessThanOrEqual(0.06 * value);
  }
});

test('every model of the catalogue has a plan for every machine of the catalogue', () => {
  for (const entry of CATALOG) {
    for (const gigabytes of [8, 16, 48, 128, 512]) {
      const plan = planMemory(memoryOfEntry(entry, '4bit'), {
        memoryBytes: gigabytes * 2 ** 30,
        availableBytes: null,
        workingSetBytes: null,
      });
      expect(plan.contextLength).toBeGreaterThanOrEqual(Math.min(2048, entry.contextLength));
      expect(Number.isFinite(plan.leftBytes)).toBe(true);
    }
  }
});
