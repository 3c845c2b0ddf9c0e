// Checkpoints as their authors publish them: the codes that MLX's rule gives, the model that the stored values are, and
// what can't be read is refused by name.

import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { EngineOptions } from '../../src/addon/types.js';
import { packageRoot } from '../../src/base/package-root.js';
import { originalFacts } from '../../src/models/registry.js';
import type { ExpertLayout } from '../../src/models/spec.js';
import { parseIndex, readInventory, selectShards } from '../../src/repack/inventory.js';
import { classifyOriginal, originalDense, originalLayer } from '../../src/repack/original.js';
import { packDirectory, planDirectory } from '../../src/repack/pack-directory.js';
import { finishDense, writeLayout } from '../../src/repack/pack.js';
import { buildPlan } from '../../src/repack/plan.js';
import { replan } from '../../src/repack/replan.js';
import { fileRange } from '../../src/repack/shard-source.js';
import type { Inventory, PackPlan } from '../../src/repack/types.js';
import { writeDirectory } from '../../src/repack/write-directory.js';
import { deviations, type Golden, readGolden } from '../addon/golden.js';
import { fixture, testAddon } from './fixtures.js';

const ORIGINALS = [
  ...['qwen3_moe-bf16', 'qwen3_5_moe-bf16', 'deepseek_v3-fp8', 'kimi_k2-int4', 'gpt_oss-mxfp4'],
];
const TOLERANCE = 1e-3;
const addon = testAddon();
let dir: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'flashmoe-originals-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

/** Bytes of a safetensors file's tensors, by name. */
async function tensorsOf(path: string): Promise<Map<string, Buffer>> {
  const file = await readFile(path);
  const start = 8 + Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString('utf8', 8, start)) as Record<
    string,
    { data_offsets: [number, number] }
  >;
  delete header.__metadata__;
  return new Map(
    Object.entries(header).map(
      ([
        name,
        {
          data_offsets: [from, to],
        },
      ]) => [name, file.subarray(start + from, start + to)],
    ),
  );
}

/** Bytes of a module's part in a packed model, of one expert where one is named. */
async function packedPart(
  plan: PackPlan,
  folder: string,
  module: string,
  expert: number | null,
  part: string,
): Promise<Buffer | null> {
  if (expert === null) {
    const entry = plan.dense.entries.find(({ name }) => name === `${module}.${part}`);
    if (entry === undefined) return null;
    const file = await readFile(join(folder, plan.dense.file));
    return file.subarray(entry.targetOffset, entry.targetOffset + entry.size);
  }
  const number = Number(/layers\.(\d+)/.exec(module)?.[1]);
  const layer = plan.layers.find((each) => each.layer === number);
  const layout = plan.layouts[layer?.layout ?? -1];
  const name = `${module.split('.').at(-1) ?? ''}.${part}`;
  const component = layout?.components.find((each) => each.name === name);
  if (layer === undefined || layout === undefined || component === undefined) return null;
  const file = await readFile(join(folder, 'packed_experts', layer.file));
  const from = expert * layout.expert_stride + component.offset;
  return file.subarray(from, from + component.size);
}

describe.each(ORIGINALS)('%s', (name) => {
  test('with --like-mlx codes and parameters are those of the reference, byte for byte', async () => {
    const folder = join(dir, `${name}-mlx`);
    const options = { addon, quant: '4bit', threads: 2, likeMlx: true } as const;
    const { plan } = await packDirectory(fixture(name), folder, options);
    const golden = JSON.parse(await readFile(join(fixture(name), 'golden.json'), 'utf8')) as {
      expected_affine4: Record<string, { mlx_module: string }>;
    };
    const expected = await tensorsOf(join(fixture(name), 'expected_affine4.safetensors'));
    // What is exact goes before what MLX's rule would choose; then its Metal kernel's rounding.
    const kinds = ['affine4_g32.', 'mxfp4.', 'via_bf16.away.', 'via_bf16.', 'away.', ''];
    let compared = 0;
    for (const [key, { mlx_module: of }] of Object.entries(golden.expected_affine4)) {
      const [, module = '', expert] = /^(?:language_model\.)?(.*?)(?: \[(\d+)\])?$/.exec(of) ?? [];
      const kind = kinds.find((each) => expected.has(`${key}.${each}weight`)) ?? '';
      const at = expert === undefined ? null : Number(expert);
      for (const part of ['weight', 'scales', 'biases']) {
        const bytes = await packedPart(plan, folder, module, at, part);
        // kv_b_proj stays whole: embed_q and unembed_out are the same weights cut in two.
        if (bytes === null && /embed_q|unembed_out/.test(module)) continue;
        if (bytes === null && part === 'biases' && kind === 'mxfp4.') continue;
        const wanted = expected.get(`${key}.${kind}${part}`);
        expect(bytes?.equals(wanted ?? Buffer.alloc(0)), `${module} ${part}`).toBe(true);
        compared += 1;
      }
    }
    expect(compared).toBeGreaterThan(8);
  });

  test('values that are kept as they are give the logits of the reference', async () => {
    const folder = join(dir, `${name}-plain`);
    const options = await packPlain(name, folder);
    const golden: Golden = await readGolden(name);
    const engine = await addon.openEngine({ ...options, cache: 'f32' }).done;
    const session = engine.createSession(64);
    const { logits, hidden } = await session.evaluate(golden.prompt, true).done;
    session.close();
    engine.close();
    const names = ['logits', ...hidden.map((_, i) => `hidden.${i}`)];
    const off = [logits, ...hidden].map((got, i) =>
      deviations(got, golden.tensors.get(names[i] ?? '') ?? new Float32Array()),
    );
    console.log(`${name}: ${off.map((value) => value.toExponential(1)).join(' ')}`);
    off.forEach((value, i) => expect(value, names[i]).toBeLessThan(TOLERANCE));
  });
});

async function inventoryOf(name: string): Promise<{ config: unknown; inventory: Inventory }> {
  const { shards } = await planDirectory(fixture(name), { addon, quant: '4bit', threads: 1 });
  const text = (file: string): Promise<string> => readFile(join(fixture(name), file), 'utf8');
  const paths = selectShards(shards.map(({ path }) => path));
  const sources = paths.map((path) => {
    const { size = 0, sha256 = '' } = shards.find((each) => each.path === path) ?? {};
    return { path, size, sha256, read: fileRange(join(fixture(name), path)) };
  });
  const index = parseIndex(await text('model.safetensors.index.json'));
  const { inventory } = await readInventory(sources, index);
  return { config: JSON.parse(await text('config.json')), inventory };
}

/** Nothing is quantised, so that the reference's own arithmetic applies. */
async function packPlain(name: string, root: string): Promise<EngineOptions> {
  const base = await planDirectory(fixture(name), { addon, quant: '4bit', threads: 1 });
  const { config, inventory } = await inventoryOf(name);
  const facts = { ...originalFacts(config), gateBits: 0, denseBits: 0 };
  const found = classifyOriginal(inventory, base.spec, facts, false);
  const layouts: ExpertLayout[] = [];
  const layers = found.layers.map((layer) => originalLayer(layer, () => 0, false, layouts));
  const plan = { ...base, dense: originalDense(found.dense, false), layouts, layers };
  const expertsDir = join(root, 'packed_experts');
  const target = {
    ...{ addon, root, expertsDir, threads: 2 },
    shardPath: (shard: string) => join(fixture(name), shard),
  };
  await writeDirectory(plan, target);
  await finishDense(plan, target);
  await writeLayout(plan, new Map(layers.map(({ layer }) => [layer, '0'.repeat(64)])), target);
  return {
    ...{ modelDir: root, expertsDir, threads: 2, ioThreads: 2, tokenLimit: 512 },
    ...{ expertsPerToken: 0, backend: 'cpu', kernelsDir: join(packageRoot, 'metal') },
  };
}

describe('what is refused, by name', () => {
  type Change = (config: Record<string, unknown>, inventory: Inventory) => void;
  const refusal = async (name: string, change: Change): Promise<string> => {
    const { config, inventory } = await inventoryOf(name);
    change(config as Record<string, unknown>, inventory);
    const fixed = { repo: 'a/b', commit: 'c'.repeat(40), quant: '4bit' } as const;
    try {
      buildPlan({ ...fixed, config, inventory });
    } catch (error) {
      return (error as Error).message;
    }
    return 'nothing was refused';
  };
  const drop =
    (name: string): Change =>
    (_, { tensors }) => {
      if (!tensors.delete(name)) throw new Error(`the fixture has no ${name}`);
    };
  const shaped =
    (name: string, shape: number[]): Change =>
    (_, { tensors }) => {
      const tensor = tensors.get(name);
      if (tensor === undefined) throw new Error(`the fixture has no ${name}`);
      tensors.set(name, { ...tensor, shape });
    };
  const fp8 = 'model.layers.1.mlp.experts.3.up_proj.weight';
  const packed = 'model.layers.1.mlp.experts.3.up_proj';

  test.each<[string, string, Change, string]>([
    [
      'a missing expert',
      'qwen3_moe-bf16',
      drop('model.layers.1.mlp.experts.3.up_proj.weight'),
      'experts.3.up_proj.weight is missing',
    ],
    ['8 bits without scales', 'deepseek_v3-fp8', drop(`${fp8}_scale_inv`), 'no weight_scale_inv'],
    [
      'a grid of scales that is no 128 x 128',
      'deepseek_v3-fp8',
      shaped(`${fp8}_scale_inv`, [2, 2]),
      '[1, 2]',
    ],
    ['int4 without scales', 'kimi_k2-int4', drop(`${packed}.weight_scale`), 'no weight_scale'],
    [
      'int4 of another shape',
      'kimi_k2-int4',
      shaped(`${packed}.weight_packed`, [64, 8]),
      '[64, 16]',
    ],
    [
      'blocks without scales',
      'gpt_oss-mxfp4',
      drop('model.layers.1.mlp.experts.down_proj_scales'),
      'down_proj_scales',
    ],
    [
      'a norm that is missing',
      'qwen3_5_moe-bf16',
      drop('model.language_model.norm.weight'),
      'model.norm.weight',
    ],
    [
      'other blocks of FP8',
      'deepseek_v3-fp8',
      (config) => {
        config.quantization_config = { quant_method: 'fp8', weight_block_size: [64, 64] };
      },
      'weight_block_size',
    ],
    [
      'another tool',
      'kimi_k2-int4',
      (config) => {
        config.quantization_config = { quant_method: 'awq' };
      },
      'quant_method',
    ],
  ])('%s', async (_, name, change, message) => {
    expect(await refusal(name, change)).toContain(message);
  });

  test('a tensor that nobody knows', async () => {
    const change: Change = (_, { tensors }) => {
      const [first] = tensors.values();
      if (first) tensors.set('model.layers.0.self_attn.secret.weight', { ...first, name: 'x' });
    };
    expect(await refusal('qwen3_moe-bf16', change)).toContain('secret');
  });
});

test('a router of an original without a gate of its own width is not made narrower', async () => {
  const plan = await planDirectory(fixture('deepseek_v3-fp8'), {
    addon,
    quant: '4bit',
    threads: 1,
  });
  const router = plan.dense.entries.find(({ name }) => name === 'model.layers.1.mlp.gate.weight');
  expect(router?.dtype).toBe('BF16');
});

test('a model that was made of an original is requantised from the original alone, also where its codes are exact', async () => {
  for (const name of ['qwen3_moe-bf16', 'kimi_k2-int4']) {
    const packed = await planDirectory(fixture(name), {
      addon: testAddon(),
      quant: '4bit',
      threads: 1,
    });
    expect(() => replan(packed, { quant: '2bit' })).toThrow(
      expect.objectContaining({
        code: 'ERR_USAGE',
        message: expect.stringContaining('made of an original checkpoint') as string,
        hint: expect.stringContaining('--quant 2bit') as string,
      }) as Error,
    );
  }
});
