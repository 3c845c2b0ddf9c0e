// Which models are taken, from headers with their real names and shapes, in which widths and at what size: the table of
// docs/acceptance.md is made here. `FLASHMOE_WRITE=1` writes it anew.

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { packageRoot } from '../../src/base/package-root.js';
import { CATALOG, catalogEntry } from '../../src/models/catalog.js';
import { readModelSpec } from '../../src/models/registry.js';
import type { Quant } from '../../src/models/quant.js';
import { estimate } from '../../src/models/verdict.js';
import { readInventory } from '../../src/repack/inventory.js';
import { buildPlan } from '../../src/repack/plan.js';
import type { Inventory, PackPlan } from '../../src/repack/types.js';
import { REAL_MODELS } from '../models/real-configs.js';
import { SEASON_MODELS, type SeasonModel } from '../models/season-configs.js';
import { deal, declare, shardSources } from './synthetic.js';

const GB = 1e9;
const rows = new Map<string, string>();
/** By shapes: some models have another's. */
const sizes = new Map<string, string>();

const first: SeasonModel[] = REAL_MODELS.map(({ id, config, gateBits }) => ({
  ...{ id, config },
  bits: (module) => (/\.mlp\.(gate|shared_expert_gate)$/.test(module) ? gateBits : 4),
  ...(config.model_type === 'qwen3_5_moe' && { prefix: 'language_model.' }),
  ...{ reportedGb: catalogEntry(id).downloadBytes / GB, within: 0.01 },
}));

async function inventoryOf(model: SeasonModel, changes: Partial<SeasonModel>): Promise<Inventory> {
  const made = { ...model, ...changes };
  const split = Array.from({ length: 128 }, (_, i) => `model.layers.${i}.self_attn.embed_q.weight`);
  const spec = readModelSpec(made.config, new Set(made.isSplit === true ? split : []));
  return (await readInventory(shardSources(deal(declare(spec, made))), null)).inventory;
}

function planOf({ config }: SeasonModel, inventory: Inventory, quant: Quant): PackPlan {
  return buildPlan({ config, inventory, repo: 'org/name', commit: 'c'.repeat(40), quant });
}

const expertsOnly = (bits: number) => (module: string) =>
  module.includes('switch_mlp') ? bits : 0;

describe.each([...first, ...SEASON_MODELS])('$id', (model) => {
  test('adds up to what others report of its repository, and to the catalogue', async () => {
    const inventory = await inventoryOf(model, {});
    const plan = planOf(model, inventory, '4bit');
    const bytes = plan.shards.reduce((sum, { size }) => sum + size, 0);
    expect(Math.abs(bytes / GB / model.reportedGb - 1)).toBeLessThan(model.within);

    const entry = catalogEntry(model.id);
    const routed = plan.layers.filter(({ table }) => table === undefined);
    const moe = plan.spec.layers.at(-1)?.mlp;
    const stride = plan.layouts[routed[0]?.layout ?? NaN]?.expert_stride;
    expect(entry).toMatchObject({
      ...{ modelType: plan.spec.modelType, routedLayers: routed.length },
      ...{ experts: routed[0]?.experts, hiddenSize: plan.spec.hiddenSize },
      expertsPerToken: moe?.kind === 'moe' ? moe.topK : 0,
      ...{ shards: plan.shards.length, contextLength: plan.spec.maxPositions },
    });
    expect(entry.expertBytes['4bit']).toBe(stride);
    for (const quant of ['4bit', '2bit'] as const) {
      const { finalBytes } = planOf(model, inventory, quant);
      // Alignment of dense tensors and manifests come on top of the sums.
      const known = estimate(entry, quant).finalBytes;
      expect(finalBytes - known, quant).toBeGreaterThanOrEqual(0);
      expect(finalBytes - known, quant).toBeLessThan(4 << 20);
    }
  });

  test('is taken in every width', async () => {
    const cells: string[] = [];
    for (const bits of [2, 3, 4, 5, 6, 8, 0]) {
      // Where a row has no whole words of that width, no converter writes it either.
      const isWhole = (columns: number) => Number.isInteger((columns * bits) / 32);
      const spec = readModelSpec(model.config, new Set());
      const moe = spec.layers.at(-1)?.mlp;
      if (moe?.kind !== 'moe') throw new Error('no experts');
      if (!isWhole(moe.intermediateSize) || !isWhole(spec.hiddenSize)) {
        cells.push('–');
        continue;
      }
      const width = { bits: expertsOnly(bits), isMxfp4: () => false, groupSize: 32 };
      const { quantization: block, ...rest } = model.config;
      const config = bits === 0 ? rest : { ...rest, quantization: block };
      const key = JSON.stringify([config, bits]);
      const known =
        sizes.get(key) ??
        (
          planOf({ ...model, config }, await inventoryOf(model, width), '4bit').finalBytes / GB
        ).toFixed(0);
      sizes.set(key, known);
      cells.push(known);
    }
    const { spec } = planOf(model, await inventoryOf(model, {}), '4bit');
    rows.set(model.id, `| ${model.id} | \`${spec.modelType}\` | ${cells.join(' | ')} |`);
  });
});

test('every entry of the catalogue has a row, and the page has the table', async () => {
  const ids = CATALOG.map(({ id }) => id).filter((id) => id !== 'tiny');
  expect([...rows.keys()].sort()).toEqual([...ids].sort());
  const path = join(packageRoot, 'docs', 'acceptance.md');
  const page = await readFile(path, 'utf8');
  const table = ids.map((id) => rows.get(id)).join('\n');
  const made = page.replace(
    /(\| --- [^\n]*\n)[\s\S]*?(?=\n\n|\n$)/,
    (_, line: string) => line + table,
  );
  if (process.env['FLASHMOE_WRITE'] === '1') await writeFile(path, made);
  else expect(page).toBe(made);
});
