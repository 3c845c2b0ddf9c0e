// The plan by table: machines of 8 to 512 GB and models from small to far larger than any of them.

import { expect, test } from 'vitest';
import {
  memoryBudget,
  planMemory,
  type MemoryPlan,
  type ModelMemory,
} from '../../src/models/memory-plan.js';

const GIB = 2 ** 30;

/** Shapes of published models at 4 bits; bytes follow from them. */
const MODELS = {
  '35B-A3B': {
    denseBytes: 1.7e9,
    expertFileBytes: 18.1e9,
    largestExpertBytes: 1_769_472,
    expertBytesPerToken: 8 * 40 * 1_769_472,
    stateBytes: 66e6,
    kvBytesPerToken: 20_480,
    prefillBytesPerToken: 26_000,
    maxPositions: 262_144,
  },
  '397B-A17B': {
    denseBytes: 7.8e9,
    expertFileBytes: 217_432_719_360,
    largestExpertBytes: 7_077_888,
    expertBytesPerToken: 10 * 60 * 7_077_888,
    stateBytes: 190e6,
    kvBytesPerToken: 30_720,
    prefillBytesPerToken: 51_000,
    maxPositions: 262_144,
  },
  '235B-A22B': {
    denseBytes: 4.5e9,
    expertFileBytes: 128e9,
    largestExpertBytes: 10_616_832,
    expertBytesPerToken: 8 * 94 * 10_616_832,
    stateBytes: 0,
    kvBytesPerToken: 196_000,
    prefillBytesPerToken: 51_000,
    maxPositions: 262_144,
  },
} satisfies Record<string, ModelMemory>;

type Row = [
  model: keyof typeof MODELS,
  gigabytes: number,
  mode: MemoryPlan['mode'],
  prefillTokens: number,
  fits: boolean,
];

const TABLE: Row[] = [
  ['35B-A3B', 8, 'cached', 1024, true],
  ['35B-A3B', 16, 'cached', 2048, true],
  ['35B-A3B', 24, 'cached', 4096, true],
  ['35B-A3B', 32, 'cached', 4096, true],
  ['35B-A3B', 48, 'resident', 8192, true],
  ['35B-A3B', 512, 'resident', 8192, true],
  ['397B-A17B', 8, 'streamed', 1024, false],
  ['397B-A17B', 16, 'streamed', 2048, true],
  ['397B-A17B', 24, 'streamed', 4096, true],
  ['397B-A17B', 48, 'cached', 8192, true],
  ['397B-A17B', 128, 'cached', 8192, true],
  ['397B-A17B', 512, 'resident', 8192, true],
  ['235B-A22B', 8, 'streamed', 1024, true],
  ['235B-A22B', 64, 'cached', 8192, true],
  ['235B-A22B', 192, 'resident', 8192, true],
];

function machine(gigabytes: number): Parameters<typeof planMemory>[1] {
  return { memoryBytes: gigabytes * GIB, availableBytes: null, workingSetBytes: null };
}

function partsOf(plan: MemoryPlan): number {
  const { programBytes, denseBytes, cacheBytes, prefillBytes, expertBytes } = plan;
  return programBytes + denseBytes + cacheBytes + prefillBytes + expertBytes;
}

test.each(TABLE)('%s on %i GB: experts are %s, passes of %i tokens', (...row) => {
  const [name, gigabytes, mode, prefillTokens, fits] = row;
  const plan = planMemory(MODELS[name], machine(gigabytes));
  expect({ mode: plan.mode, prefillTokens: plan.prefillTokens, fits: plan.shortBytes === 0 }).toEqual(
    { mode, prefillTokens, fits },
  );
  expect(plan.contextLength).toBeGreaterThanOrEqual(2048);
  expect(plan.contextLength).toBeLessThanOrEqual(MODELS[name].maxPositions);
  if (fits) expect(partsOf(plan)).toBeLessThanOrEqual(plan.budgetBytes);
  else expect(plan.shortBytes).toBeGreaterThan(0);
});

test('more memory never means a shorter context, shorter passes or fewer experts', () => {
  for (const model of Object.values(MODELS)) {
    let last: MemoryPlan | null = null;
    for (let gigabytes = 8; gigabytes <= 512; gigabytes += 8) {
      const plan = planMemory(model, machine(gigabytes));
      if (last !== null && last.shortBytes === 0) {
        expect(plan.prefillTokens).toBeGreaterThanOrEqual(last.prefillTokens);
        expect(plan.expertBytes + plan.cacheBytes).toBeGreaterThanOrEqual(
          last.expertBytes + last.cacheBytes - 0.3 * GIB,
        );
      }
      last = plan;
    }
  }
});

test('a wished context and a wished memory are taken as they are, and what is missing is said', () => {
  const model = MODELS['397B-A17B'];
  const plan = planMemory(model, machine(48), { contextLength: 200_000, memoryBytes: 24 * GIB });
  expect(plan.budgetBytes).toBe(24 * GIB);
  expect(plan.contextLength).toBe(200_000);
  expect(partsOf(plan)).toBeLessThanOrEqual(24 * GIB);
  const tight = planMemory(model, machine(48), { contextLength: 200_000, memoryBytes: 10 * GIB });
  expect(tight.shortBytes).toBeGreaterThan(0);
});

test('several conversations have their caches and their passes counted', () => {
  const model = MODELS['35B-A3B'];
  const one = planMemory(model, machine(24), { contextLength: 32_768 });
  const four = planMemory(model, machine(24), { contextLength: 32_768, sessions: 4 });
  expect(four.cacheBytes).toBe(4 * one.cacheBytes);
  expect(four.prefillBytes).toBe(4 * one.prefillBytes);
  expect(four.expertBytes).toBeLessThan(one.expertBytes);
});

test('a GPU and the programs of others limit what is taken; a wish overrules the others', () => {
  const facts = { memoryBytes: 48 * GIB, availableBytes: 20 * GIB, workingSetBytes: 37.4 * GIB };
  expect(memoryBudget({ ...facts, availableBytes: null })).toBeLessThanOrEqual(35.4 * GIB);
  expect(memoryBudget(facts)).toBe(20 * GIB);
  expect(memoryBudget(facts, 30 * GIB)).toBe(30 * GIB);
  expect(memoryBudget(facts, 40 * GIB)).toBeLessThanOrEqual(35.4 * GIB);
});

test('a model without experts, or without caches that grow, has a plan as well', () => {
  const none = { ...MODELS['35B-A3B'], expertFileBytes: 0, largestExpertBytes: 0 };
  expect(planMemory({ ...none, expertBytesPerToken: 0 }, machine(16))).toMatchObject({
    mode: 'resident',
    expertBytes: 0,
    shortBytes: 0,
  });
  const still = planMemory({ ...MODELS['35B-A3B'], kvBytesPerToken: 0 }, machine(16));
  expect(still.contextLength).toBe(262_144);
});
