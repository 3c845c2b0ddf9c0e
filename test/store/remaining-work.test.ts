import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { remainingWork, type RemainingWork } from '../../src/store/remaining-work.js';
import { applyEntry, reduceJournal, type JournalState } from '../../src/store/state.js';
import { chooseOrder, peakOf } from '../../src/repack/schedule.js';
import type { DenseEntry, LayerPlan, PackPlan } from '../../src/repack/types.js';

const SHA = 'a'.repeat(64);

/** Shard sizes, and for each layer its size and the shards it reads. Every shard also holds a dense tensor. */
function planOf(shards: number[], layers: { size: number; shards: number[] }[]): PackPlan {
  const name = (index: number): string => `s${index}`;
  const entries = shards.map((_, index): DenseEntry => ({
    ...{ name: `norm.${index}`, shard: name(index), sourceOffset: 8, targetOffset: index * 64 },
    ...{ size: 64, shape: [32], dtype: 'BF16' },
  }));
  const body = {
    shards: shards.map((size, index) => ({ path: name(index), size, sha256: SHA })),
    dense: { file: 'model_weights.bin', size: entries.length * 64, entries },
    layers: layers.map(({ size, shards: from }, layer): LayerPlan => ({
      ...{ layer, file: `layer_${layer}.bin`, size, layout: 0, experts: 1, projections: [] },
      shards: [...new Set(from)].map(name),
    })),
  };
  const order = chooseOrder(body);
  const peakBytes = peakOf({ ...body, order });
  return { ...body, order, peakBytes, schema: 1, finalBytes: 0 } as unknown as PackPlan;
}

/** The most that lies on disk when every download begins as early as it may and takes until it is needed. */
function peakWithOverlap(
  { steps, levels, startBytes, mayStart }: RemainingWork,
  plan: PackPlan,
  state: JournalState,
): number {
  let peak = startBytes;
  for (const [index, start] of mayStart) {
    const step = steps[index];
    if (step?.type !== 'fetch' || state.verified.has(step.shard)) continue;
    const size = plan.shards.find(({ path }) => path === step.shard)?.size ?? 0;
    for (let at = start; at < index; at += 1) {
      peak = Math.max(peak, (levels[at] ?? 0) + size, (levels[at - 1] ?? startBytes) + size);
    }
  }
  return Math.max(peak, ...levels);
}

const plans = fc
  .record({
    shards: fc.array(fc.integer({ min: 1, max: 500 }), { minLength: 1, maxLength: 6 }),
    layers: fc.array(
      fc.record({
        size: fc.integer({ min: 1, max: 500 }),
        shards: fc.array(fc.nat(), { minLength: 1, maxLength: 2 }),
      }),
      { minLength: 1, maxLength: 8 },
    ),
  })
  .map(({ shards, layers }) =>
    planOf(
      shards,
      layers.map((layer) => ({ ...layer, shards: layer.shards.map((s) => s % shards.length) })),
    ),
  );

describe('the rest of a plan', () => {
  it('at the beginning is the whole plan with the promised peak', () => {
    fc.assert(
      fc.property(plans, (plan) => {
        const work = remainingWork(plan, reduceJournal([]));
        expect(work.peakBytes).toBe(plan.peakBytes);
        expect(work.startBytes).toBe(0);
        expect(work.steps.filter(({ type }) => type === 'layer')).toHaveLength(plan.layers.length);
        expect(work.steps.filter(({ type }) => type === 'release')).toHaveLength(plan.order.length);
      }),
    );
  });

  it('never lets a download that runs ahead go over the peak of doing one thing after the other', () => {
    fc.assert(
      fc.property(plans, (plan) => {
        const state = reduceJournal([]);
        const work = remainingWork(plan, state);
        expect(peakWithOverlap(work, plan, state)).toBeLessThanOrEqual(work.peakBytes);
      }),
    );
  });

  it('lets a download run beside packing where there is room below the peak', () => {
    // The peak is at the end, when all layers are there: in the middle a shard more does no harm.
    const plan = planOf(
      [100, 100, 100],
      [0, 1, 2].map((shard) => ({ size: 90, shards: [shard] })),
    );
    const { steps, mayStart } = remainingWork(plan, reduceJournal([]));
    const second = steps.findIndex((step) => step.type === 'fetch' && step.shard === 's1');
    expect(mayStart.get(second)).toBeLessThan(second);
    expect(steps[mayStart.get(second) ?? 0]).toMatchObject({ type: 'dense', shard: 's0' });
  });

  it('after every step that was done is the rest of the same steps', () => {
    fc.assert(
      fc.property(plans, fc.nat(), (plan, cut) => {
        const state = reduceJournal([]);
        const whole = remainingWork(plan, state);
        const done = whole.steps.slice(0, cut % (whole.steps.length + 1));
        for (const step of done) {
          const hash = { bytes: 1, sha256: SHA };
          if (step.type === 'fetch')
            applyEntry(state, { step: 'verified', shard: step.shard, ...hash });
          else if (step.type === 'dense')
            applyEntry(state, { step: 'dense', shard: step.shard, bytes: 1 });
          else if (step.type === 'release')
            applyEntry(state, { step: 'released', shard: step.shard });
          else {
            const file = `layer_${step.layer}.bin`;
            applyEntry(state, { step: 'packed', layer: step.layer, file, ...hash });
          }
        }
        const rest = remainingWork(plan, state);
        const still = rest.steps.filter(
          (step) => step.type !== 'fetch' || !state.verified.has(step.shard),
        );
        const kinds = (steps: typeof still): string[] => steps.map((s) => JSON.stringify(s)).sort();
        expect(kinds(still)).toEqual(kinds(whole.steps.slice(done.length)));
        expect(rest.peakBytes).toBeLessThanOrEqual(whole.peakBytes);
      }),
    );
  });
});
