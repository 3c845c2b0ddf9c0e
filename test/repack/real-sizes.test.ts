import { describe, expect, test } from 'vitest';
import { catalogEntry } from '../../src/models/catalog.js';
import { estimate } from '../../src/models/verdict.js';
import { readInventory } from '../../src/repack/inventory.js';
import { buildPlan } from '../../src/repack/plan.js';
import { schedule } from '../../src/repack/schedule.js';
import { buildWritePlan } from '../../src/repack/write-plan.js';
import { writePlanPeak } from '../../src/repack/write-plan-peak.js';
import { windowFor } from '../../src/repack/write-plan-ranges.js';
import type { PackPlan } from '../../src/repack/types.js';
import { QWEN35_397B, type RealModel, REAL_MODELS } from '../models/real-configs.js';
import { LINE_EVERY_BYTES } from '../../src/store/expected-journal.js';
import { declare, deal, shardSources, specOf } from './synthetic.js';

const plans = new Map<string, Promise<PackPlan>>();

/** Plans are made once: they are pure. */
function plan(
  model: Pick<RealModel, 'config' | 'gateBits'>,
  quant: '4bit' | '2bit',
): Promise<PackPlan> {
  const key = JSON.stringify([model.config, model.gateBits, quant]);
  const made = plans.get(key) ?? makePlan(model, quant);
  plans.set(key, made);
  return made;
}

async function makePlan(
  { config, gateBits }: Pick<RealModel, 'config' | 'gateBits'>,
  quant: '4bit' | '2bit',
): Promise<PackPlan> {
  const spec = specOf(config);
  const bits = (module: string) =>
    /\.mlp\.(gate|shared_expert_gate)$/.test(module) ? gateBits : 4;
  const prefix = spec.modelType === 'qwen3_5_moe' ? 'language_model.' : '';
  const sources = shardSources(deal(declare(spec, { bits, prefix })));
  const { inventory } = await readInventory(sources, null);
  return buildPlan({ config, inventory, repo: 'org/name', commit: 'c'.repeat(40), quant });
}

const sum = (values: number[]) => values.reduce((a, b) => a + b, 0);

describe.each(REAL_MODELS)('$id', (model) => {
  test('packs 4-bit experts to the published sizes', async () => {
    const { layers, layouts, dense, shards } = await plan(model, '4bit');
    expect(layouts).toHaveLength(1);
    expect(layouts[0]).toMatchObject({
      expert_size: model.expertBytes,
      expert_stride: model.expertBytes,
    });
    expect(new Set(layers.map(({ size }) => size))).toEqual(new Set([model.layerBytes]));
    expect(sum(layers.map(({ size }) => size))).toBe(model.routedBytes);
    expect(sum(dense.entries.map(({ size }) => size))).toBe(model.denseBytes);
    expect(shards).toHaveLength(model.shards);
    if (model.denseTensors !== undefined) expect(dense.entries).toHaveLength(model.denseTensors);
  });

  test('packs 2-bit experts to the published sizes', async () => {
    const { layers, layouts } = await plan(model, '2bit');
    expect(layouts[0]).toMatchObject({
      expert_size: model.twoBitExpertBytes,
      expert_stride: model.twoBitExpertBytes,
    });
    expect(sum(layers.map(({ size }) => size))).toBe(model.twoBitRoutedBytes);
  });

  test('needs on disk what is left at the end and a few shards', async () => {
    for (const quant of ['4bit', '2bit'] as const) {
      const { peakBytes, finalBytes, order, shards, layers, dense } = await plan(model, quant);
      const largest = Math.max(...shards.map(({ size }) => size));
      expect(peakBytes).toBeGreaterThanOrEqual(finalBytes);
      expect(peakBytes).toBeLessThanOrEqual(finalBytes + 3 * largest);
      expect(new Set(order)).toEqual(new Set(shards.map(({ path }) => path)));
      const steps = schedule({ shards, dense, layers, order });
      expect(steps.filter(({ type }) => type === 'layer')).toHaveLength(layers.length);
      expect(steps.filter(({ type }) => type === 'release')).toHaveLength(shards.length);
    }
  });

  test('has at most one hundredth more than the final size on disk when it comes by ranges', async () => {
    for (const quant of ['4bit', '2bit'] as const) {
      const made = await plan(model, quant);
      const writes = buildWritePlan(made, { layers: new Set(), dense: false });
      expect(writes.length).toBe(sum(made.shards.map(({ size }) => size)));
      const window = windowFor(made.finalBytes);
      const peak = writePlanPeak(writes, LINE_EVERY_BYTES + window) + window;
      expect(peak, quant).toBeLessThanOrEqual(made.finalBytes * 1.01);
    }
  });

  test('is in the catalogue with the numbers its files have', async () => {
    const entry = catalogEntry(model.id);
    const { layers, dense, spec, finalBytes, layouts } = await plan(model, '4bit');
    const moe = spec.layers.at(-1)?.mlp;
    expect(entry).toMatchObject({
      modelType: spec.modelType,
      routedLayers: layers.length,
      experts: layers[0]?.experts,
      expertsPerToken: moe?.kind === 'moe' ? moe.topK : 0,
      expertBytes: { '4bit': layouts[0]?.expert_stride, '2bit': model.twoBitExpertBytes },
      denseBytes: model.denseBytes,
      shards: model.shards,
      contextLength: spec.maxPositions,
    });
    // Alignment of dense tensors and manifests come on top of the sums.
    const known = estimate(entry, '4bit').finalBytes;
    expect(finalBytes - known).toBeGreaterThanOrEqual(0);
    expect(finalBytes - known).toBeLessThan(2 << 20);
    expect(dense.size - entry.denseBytes).toBeLessThan(64 * dense.entries.length);
  });
});

test('the offsets of a 397B expert are those of flash-moe files', async () => {
  const model = { config: QWEN35_397B, gateBits: 4 } as const;
  const offsets = (p: PackPlan) => p.layouts[0]?.components.map(({ offset }) => offset);
  expect(offsets(await plan(model, '4bit'))).toEqual([
    0, 2_097_152, 2_228_224, 2_359_296, 4_456_448, 4_587_520, 4_718_592, 6_815_744, 6_946_816,
  ]);
  expect(offsets(await plan(model, '2bit'))).toEqual([
    0, 1_048_576, 1_179_648, 1_310_720, 2_359_296, 2_490_368, 2_621_440, 3_670_016, 3_801_088,
  ]);
});

test('8-bit gates of the 397B are read as such and cost what they weigh', async () => {
  const { dense, warnings } = await plan({ config: QWEN35_397B, gateBits: 8 }, '4bit');
  expect(sum(dense.entries.map(({ size }) => size))).toBe(5_579_065_472);
  const gate = dense.entries.find(({ name }) => name === 'model.layers.7.mlp.gate.weight');
  expect(gate).toMatchObject({ bits: 8, group_size: 64, shape: [512, 1024] });
  expect(warnings).toEqual([
    'model.layers.0.mlp.gate and 119 more: config.json says 4 bits in groups of 64, the tensors are 8 bits in groups of 64; the tensors count',
  ]);
});
