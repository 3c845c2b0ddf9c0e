import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { FlashmoeError } from '../../src/base/errors.js';
import { quantOf } from '../../src/cli/command-options.js';
import type { QUANTS } from '../../src/models/quant.js';
import { readValue } from '../../src/settings/option.js';
import { checkpointOptions } from '../../src/settings/setup-options.js';
import { readInventory } from '../../src/repack/inventory.js';
import { packDirectory } from '../../src/repack/pack-directory.js';
import { buildPlan } from '../../src/repack/plan.js';
import type { PackPlan } from '../../src/repack/types.js';
import { FAMILIES, fixture, testAddon } from './fixtures.js';
import { declare, deal, shardSources, specOf } from './synthetic.js';

/** Experts large enough that a kept projection is more than padding. */
const CONFIG = {
  model_type: 'qwen3_moe',
  hidden_size: 1024,
  num_hidden_layers: 5,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 32,
  vocab_size: 512,
  num_experts: 4,
  num_experts_per_tok: 2,
  moe_intermediate_size: 512,
  intermediate_size: 256,
  norm_topk_prob: true,
  rms_norm_eps: 1e-6,
  rope_theta: 5000000,
  max_position_embeddings: 4096,
  quantization: { bits: 4, group_size: 64 },
};

async function planOf(quant: SetupQuant, size?: number, published = 4): Promise<PackPlan> {
  const shards = deal(declare(specOf(CONFIG), { bits: () => published }), 1e6);
  const { inventory, warnings } = await readInventory(shardSources(shards), null);
  const rest = { repo: 'org/name', commit: 'c'.repeat(40), quant, ...(size && { size }) };
  return buildPlan({ config: CONFIG, inventory, warnings, ...rest });
}

type SetupQuant = (typeof QUANTS)[number];

/** Kept projections of each layer, by their first letters. */
const kept = ({ layers, layouts }: PackPlan): string[] =>
  layers.map(({ layout }) =>
    (layouts[layout]?.components ?? [])
      .flatMap(({ name, bits }) => (bits === 4 ? [name.slice(0, 1)] : []))
      .join(''),
  );

describe('mixed widths', () => {
  test('without a size keep the most sensitive projection of each layer', async () => {
    expect(kept(await planOf('mixed'))).toEqual(['d', 'd', 'd', 'd', 'd']);
  });

  test('fill a budget: most sensitive projections first, and not one more would fit', async () => {
    const [narrow, wide] = [await planOf('2bit'), await planOf('4bit')];
    const step = (wide.finalBytes - narrow.finalBytes) / 15;
    let before = 0;
    for (let size = narrow.finalBytes + 64; size < wide.finalBytes; size += step / 3) {
      const plan = await planOf('mixed', size);
      expect(plan.finalBytes).toBeLessThanOrEqual(size);
      const count = kept(plan).join('').length;
      expect(count).toBeGreaterThanOrEqual(before);
      before = count;
      // A description of one more layout is the only thing that may stand in the way besides the projection itself.
      expect(plan.finalBytes).toBeGreaterThan(size - step - 4096);
      const downs = kept(plan).join('').replaceAll(/[^d]/g, '').length;
      expect(downs).toBe(Math.min(count, 5));
    }
    expect(before).toBeGreaterThan(12);
  });

  test('are those of the source where the budget allows it', async () => {
    const wide = await planOf('4bit');
    expect(kept(await planOf('mixed', wide.finalBytes + 1))).toEqual(kept(wide));
  });

  test('are refused below two bits everywhere, with the size that would do', async () => {
    const error: unknown = await planOf('mixed', 1e6).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(FlashmoeError);
    expect((error as FlashmoeError).code).toBe('ERR_USAGE');
    const [, hint = ''] = /^--size (\S+) or more$/.exec((error as FlashmoeError).hint ?? '') ?? [];
    expect(byteCount(hint)).toBeGreaterThanOrEqual((await planOf('2bit')).finalBytes);
  });
});

const byteCount = (text: string): number => readValue(checkpointOptions.size, '--size', text, 0);

describe('three and five bits', () => {
  const widths = ({ layouts }: PackPlan): number[] =>
    layouts.flatMap(({ components }) => components.flatMap(({ bits }) => bits ?? []));

  test('are what every projection gets that was published with more', async () => {
    expect(widths(await planOf('3bit'))).toEqual([3, 3, 3]);
    expect(widths(await planOf('3bit', undefined, 8))).toEqual([3, 3, 3]);
    expect(widths(await planOf('5bit', undefined, 8))).toEqual([5, 5, 5]);
    const [two, three, four] = [await planOf('2bit'), await planOf('3bit'), await planOf('4bit')];
    expect(three.finalBytes).toBeGreaterThan(two.finalBytes);
    expect(three.finalBytes).toBeLessThan(four.finalBytes);
    expect(three.warnings.join()).toContain('the GPU has no kernels');
  });

  test('are never more than was published', async () => {
    for (const [quant, published] of [
      ['5bit', 4],
      ['3bit', 2],
    ] as const) {
      await expect(planOf(quant, undefined, published)).rejects.toMatchObject({
        code: 'ERR_USAGE',
        subject: '--quant',
        message: expect.stringContaining(`published with ${published} bits`) as string,
      });
    }
  });

  test('leave alone what was published with as many bits', async () => {
    expect(widths(await planOf('3bit', undefined, 3))).toEqual([3, 3, 3]);
  });
});

describe('what is written', () => {
  let dir: string;
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'flashmoe-widths-'));
  });
  afterAll(() => rm(dir, { recursive: true, force: true }));

  test.each([
    ...FAMILIES.map((family) => [family, 'mixed'] as const),
    ['qwen3_moe', '3bit'] as const,
  ])('of %s at %s has exactly the bytes that were promised', async (family, quant) => {
    const target = join(dir, `${family}-${quant}`);
    const { plan, modelDir, expertsDir } = await packDirectory(fixture(family), target, {
      addon: testAddon(),
      quant,
      threads: 2,
    });
    const files = [
      ...['model_weights.bin', 'model_weights.json'].map((name) => join(modelDir, name)),
      ...['layout.json', ...plan.layers.map(({ file }) => file)].map((name) =>
        join(expertsDir, name),
      ),
    ];
    const sizes = await Promise.all(files.map(async (file) => (await stat(file)).size));
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(plan.finalBytes);
  });
});

describe('a size on the command line', () => {
  test.each([
    ['150GB', 150e9],
    ['1.5TB', 1.5e12],
    ['139.7GiB', Math.floor(139.7 * 2 ** 30)],
    ['150 gb', 150e9],
    ['4096B', 4096],
  ])('%s', (text, bytes) => {
    expect(byteCount(text)).toBe(bytes);
  });

  test.each(['150', '', '-1GB', '1e3GB', 'GB', '99999999TB', '0GB', '1GBB'])('not %j', (text) => {
    expect(() => byteCount(text)).toThrow();
  });

  test('asks for mixed widths by itself, and contradicts a uniform one', () => {
    expect(quantOf(null, 1e9)).toBe('mixed');
    expect(quantOf('mixed', 1e9)).toBe('mixed');
    expect(quantOf('2bit', null)).toBe('2bit');
    expect(quantOf(null, null)).toBe(null);
    expect(() => quantOf('4bit', 1e9)).toThrow('--quant 4bit');
  });
});
