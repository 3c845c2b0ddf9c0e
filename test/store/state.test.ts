import { describe, expect, it } from 'vitest';
import type { JournalEntry } from '../../src/store/journal-lines.js';
import { reconcile } from '../../src/store/reconcile.js';
import { doneBytes, neededShards, reduceJournal, type DiskSizes } from '../../src/store/state.js';
import type { DenseEntry, LayerPlan, PackPlan } from '../../src/repack/types.js';

const SHA = 'a'.repeat(64);

function layer(index: number, shards: string[]): LayerPlan {
  const file = `packed_experts/layer_0${index}.bin`;
  return { layer: index, file, size: 64, layout: 0, shards, experts: 2, projections: [] };
}

function dense(shard: string): DenseEntry {
  const place = { sourceOffset: 8, targetOffset: 0, size: 16, shape: [8] };
  return { name: `norm.${shard}`, shard, ...place, dtype: 'BF16' };
}

// Layer 0 reads a, layer 1 reads a and b, layer 2 reads b; c holds dense tensors only, d nothing of use.
const PLAN: PackPlan = {
  schema: 1,
  fingerprint: 'f'.repeat(64),
  quant: '4bit',
  repo: 'owner/name',
  commit: 'c'.repeat(40),
  spec: {} as PackPlan['spec'],
  shards: ['a', 'b', 'c', 'd'].map((path) => ({ path, size: 100, sha256: SHA })),
  dense: { file: 'model_weights.bin', size: 48, entries: [dense('a'), dense('c')] },
  layouts: [],
  layers: [layer(0, ['a']), layer(1, ['a', 'b']), layer(2, ['b'])],
  order: ['c', 'a', 'b'],
  skipped: [],
  warnings: [],
  finalBytes: 240,
  peakBytes: 440,
};

const verified = (shard: string): JournalEntry => ({
  step: 'verified',
  shard,
  bytes: 100,
  sha256: SHA,
});
const packed = (index: number): JournalEntry => ({
  step: 'packed',
  layer: index,
  file: `packed_experts/layer_0${index}.bin`,
  bytes: 64,
  sha256: SHA,
});

function disk(shards: string[], layers: number[], densePartial: number | null = 48): DiskSizes {
  return {
    shards: new Map(shards.map((shard) => [shard, 100])),
    files: new Map(layers.map((index) => [`packed_experts/layer_0${index}.bin`, 64])),
    densePartial,
    partials: new Map(),
    named: new Map(),
  };
}

describe('what is left to do', () => {
  it('is every shard in the order of the plan at the beginning', () => {
    expect(neededShards(PLAN, reduceJournal([]))).toEqual(['c', 'a', 'b']);
    expect(doneBytes(PLAN, reduceJournal([]))).toBe(0);
  });

  it('excludes shards from which nothing has to be read any more', () => {
    const state = reduceJournal([
      { step: 'dense', shard: 'c', bytes: 16 },
      { step: 'dense', shard: 'a', bytes: 16 },
      packed(0),
      verified('b'),
    ]);
    expect(neededShards(PLAN, state)).toEqual(['a', 'b']);
    expect(doneBytes(PLAN, state)).toBe(200);
  });

  it('includes a shard again when a layer file made from it is gone or has another size', () => {
    const done: JournalEntry[] = [
      { step: 'dense', shard: 'c', bytes: 16 },
      { step: 'dense', shard: 'a', bytes: 16 },
      packed(0),
      packed(1),
      packed(2),
      { step: 'released', shard: 'a' },
    ];
    const state = reduceJournal(done);
    expect(neededShards(PLAN, reconcile(state, disk([], [0, 1, 2]), PLAN))).toEqual([]);
    expect(neededShards(PLAN, reconcile(state, disk([], [0, 1]), PLAN))).toEqual(['b']);
    const short = disk([], [0, 1, 2]);
    const files = new Map([...short.files, ['packed_experts/layer_00.bin', 63] as const]);
    expect(neededShards(PLAN, reconcile(state, { ...short, files }, PLAN))).toEqual(['a']);
  });

  it('includes every shard with dense tensors when the partial dense file is gone', () => {
    const state = reduceJournal([
      { step: 'dense', shard: 'c', bytes: 16 },
      { step: 'dense', shard: 'a', bytes: 16 },
      packed(0),
      packed(1),
      packed(2),
    ]);
    expect(neededShards(PLAN, reconcile(state, disk([], [0, 1, 2], null), PLAN))).toEqual([
      'c',
      'a',
    ]);
  });

  it('keeps dense tensors whose file got its final name just before a crash', () => {
    const state = reduceJournal([
      { step: 'dense', shard: 'c', bytes: 16 },
      { step: 'dense', shard: 'a', bytes: 16 },
      packed(0),
      packed(1),
      packed(2),
    ]);
    const renamed = disk([], [0, 1, 2], null);
    const files = new Map([...renamed.files, ['model_weights.bin', 48] as const]);
    const believed = reconcile(state, { ...renamed, files }, PLAN);
    expect(neededShards(PLAN, believed)).toEqual([]);
    expect(believed.denseFile).toBeNull();
  });

  it('keeps a dense file that has its name and its size, and dense tensors that just fit in the partial one', () => {
    const dense = { file: 'model_weights.bin', bytes: 48 };
    const state = reduceJournal([
      { step: 'dense', shard: 'a', bytes: 16 },
      { step: 'dense-finished', ...dense, sha256: SHA },
    ]);
    const there = { ...disk([], [], null), files: new Map([['model_weights.bin', 48]]) };
    expect(reconcile(state, there, PLAN).denseFile).toMatchObject(dense);
    const short = { ...there, files: new Map([['model_weights.bin', 47]]) };
    expect(reconcile(state, short, PLAN).denseFile).toBeNull();
    // The tensors of a end at byte 16.
    expect([...reconcile(state, disk([], [], 16), PLAN).dense]).toEqual(['a']);
    expect([...reconcile(state, disk([], [], 15), PLAN).dense]).toEqual([]);
  });

  it('does not trust a verified shard that is no longer there', () => {
    const state = reduceJournal([verified('a'), verified('b')]);
    expect([...reconcile(state, disk(['b'], []), PLAN).verified.keys()]).toEqual(['b']);
  });

  it('is the same however often a line is repeated', () => {
    const lines = [verified('a'), packed(0), packed(1)];
    expect(reduceJournal(lines.flatMap((line) => [line, line]))).toEqual(reduceJournal(lines));
  });
});
