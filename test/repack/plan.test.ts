import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readInventory } from '../../src/repack/inventory.js';
import { buildPlan, canonicalJson, fingerprint } from '../../src/repack/plan.js';
import { peakOf, schedule } from '../../src/repack/schedule.js';
import type { PackPlan } from '../../src/repack/types.js';
import { FlashmoeError } from '../../src/base/errors.js';
import { declare, type Declared, deal, shardSources, specOf } from './synthetic.js';

const CONFIG = {
  model_type: 'qwen3_moe',
  hidden_size: 128,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 32,
  vocab_size: 512,
  num_experts: 4,
  num_experts_per_tok: 2,
  moe_intermediate_size: 64,
  intermediate_size: 256,
  norm_topk_prob: true,
  rms_norm_eps: 1e-6,
  rope_theta: 5000000,
  max_position_embeddings: 4096,
  quantization: { bits: 4, group_size: 64 },
};

const tensors = (
  config: Record<string, unknown> = CONFIG,
  bits: (module: string) => number = () => 4,
) => declare(specOf(config), { bits });

async function planOf(
  shards: Declared[][],
  config: Record<string, unknown> = CONFIG,
  quant: '4bit' | '2bit' = '4bit',
): Promise<PackPlan> {
  const { inventory, warnings } = await readInventory(shardSources(shards), null);
  return buildPlan({
    config,
    inventory,
    warnings,
    repo: 'org/name',
    commit: 'c'.repeat(40),
    quant,
  });
}

async function refusal(shards: Declared[][], config = CONFIG): Promise<FlashmoeError> {
  const error: unknown = await planOf(shards, config).catch((thrown: unknown) => thrown);
  if (!(error instanceof FlashmoeError)) throw new Error('the checkpoint was accepted');
  return error;
}

describe('whatever the shapes and however they are dealt into shards', () => {
  const shape = fc.record({
    layers: fc.integer({ min: 1, max: 4 }),
    experts: fc.integer({ min: 1, max: 6 }),
    hidden: fc.constantFrom(64, 128, 192),
    intermediate: fc.constantFrom(64, 128),
    bits: fc.constantFrom(2, 4, 8),
    params: fc.constantFrom('BF16' as const, 'F16' as const, 'F32' as const),
    groupSize: fc.constantFrom(32, 64),
    dense: fc.array(fc.nat(3), { maxLength: 2 }),
    shardBytes: fc.integer({ min: 1, max: 200_000 }),
    seed: fc.integer(),
    quant: fc.constantFrom('4bit' as const, '2bit' as const),
  });

  test('a plan uses each expert byte once, overlaps nothing and keeps its promises', async () => {
    await fc.assert(
      fc.asyncProperty(shape, async (s) => {
        const config = {
          ...CONFIG,
          num_hidden_layers: s.layers,
          num_experts: s.experts,
          num_experts_per_tok: 1,
          hidden_size: s.hidden,
          moe_intermediate_size: s.intermediate,
          mlp_only_layers: s.dense.filter((layer) => layer > 0),
          quantization: { bits: s.bits, group_size: s.groupSize },
        };
        const declared = declare(specOf(config), {
          bits: () => s.bits,
          params: s.params,
          groupSize: s.groupSize,
        });
        const shards = deal(shuffled(declared, s.seed), s.shardBytes);
        const plan = await planOf(shards, config, s.quant);
        checkExperts(plan, declared);
        checkDense(plan, declared);
        checkSchedule(plan);
      }),
      { numRuns: 60 },
    );
  });
});

function shuffled<T>(items: T[], seed: number): T[] {
  let state = seed >>> 0;
  const key = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0);
  return items
    .map((item) => ({ item, at: key() }))
    .sort((x, y) => x.at - y.at)
    .map(({ item }) => item);
}

const sum = (values: number[]) => values.reduce((x, y) => x + y, 0);

function checkExperts(plan: PackPlan, declared: Declared[]): void {
  const used = new Map<string, number>();
  for (const layer of plan.layers) {
    const layout = plan.layouts[layer.layout];
    if (layout === undefined) throw new Error('no layout');
    const { components, expert_size, expert_stride } = layout;
    let end = 0;
    for (const { offset, size } of components) {
      expect(offset).toBe(end);
      end = offset + size;
    }
    expect(expert_size).toBe(end);
    expect(expert_stride % 16384).toBe(0);
    expect(expert_stride - expert_size).toBeGreaterThanOrEqual(0);
    expect(expert_stride - expert_size).toBeLessThan(16384);
    expect(layer.size).toBe(layer.experts * expert_stride);
    for (const p of layer.projections) {
      for (const tensor of [p.weight, p.scales, p.biases]) {
        if (tensor === null) continue;
        expect(layer.shards).toContain(tensor.source);
        const key = `${tensor.source}@${tensor.offset}`;
        expect(used.has(key)).toBe(false);
        used.set(key, tensor.size);
        expect(tensor.size % layer.experts).toBe(0);
      }
      const wanted = plan.quant === '2bit' ? 2 : p.sourceBits;
      expect(p.targetBits).toBe(wanted);
    }
  }
  const stacked = declared.filter(({ name }) => name.includes('switch_mlp'));
  expect(used.size).toBe(stacked.length);
  const bytes = { U32: 4, F32: 4, BF16: 2, F16: 2 } as Record<string, number>;
  expect(sum([...used.values()])).toBe(
    sum(stacked.map((t) => t.shape.reduce((x, y) => x * y, bytes[t.dtype] ?? 0))),
  );
}

function checkDense(plan: PackPlan, declared: Declared[]): void {
  const expected = declared.filter(({ name }) => !name.includes('switch_mlp')).map((t) => t.name);
  expect(plan.dense.entries.map(({ name }) => name)).toEqual(expected.sort());
  let end = 0;
  for (const { targetOffset, size } of plan.dense.entries) {
    expect(targetOffset % 64).toBe(0);
    expect(targetOffset - end).toBeGreaterThanOrEqual(0);
    expect(targetOffset - end).toBeLessThan(64);
    end = targetOffset + size;
  }
  expect(plan.dense.size).toBe(end);
}

/** Executes the schedule on paper: a layer needs its shards, a shard goes only when nothing needs it. */
function checkSchedule(plan: PackPlan): void {
  const held = new Set<string>();
  const packed = new Set<number>();
  const copied = new Set<string>();
  for (const step of schedule(plan)) {
    switch (step.type) {
      case 'fetch':
        expect(held.has(step.shard)).toBe(false);
        held.add(step.shard);
        break;
      case 'dense':
        expect(held.has(step.shard)).toBe(true);
        copied.add(step.shard);
        break;
      case 'layer': {
        const layer = plan.layers.find((l) => l.layer === step.layer);
        expect(layer?.shards.every((shard) => held.has(shard))).toBe(true);
        expect(packed.has(step.layer)).toBe(false);
        packed.add(step.layer);
        break;
      }
      case 'release': {
        const { shard } = step;
        expect(held.delete(shard)).toBe(true);
        const users = plan.layers.filter((l) => l.shards.includes(shard));
        expect(users.every(({ layer }) => packed.has(layer))).toBe(true);
        expect(plan.dense.entries.some((e) => e.shard === shard)).toBe(copied.has(shard));
      }
    }
  }
  expect(held.size).toBe(0);
  expect(packed.size).toBe(plan.layers.length);
  const largest = sum(plan.layers.map(({ size }) => size)) + plan.dense.size;
  expect(plan.finalBytes).toBeGreaterThan(largest);
  expect(plan.peakBytes).toBeGreaterThanOrEqual(plan.finalBytes);
  expect(plan.peakBytes).toBeLessThanOrEqual(plan.finalBytes + sum(plan.shards.map((s) => s.size)));
}

test('the peak counts a layer file beside the shards it came from', () => {
  const shard = (path: string, size: number) => ({ path, size, sha256: '' });
  const layer = (n: number, size: number, shards: string[]) => ({
    layer: n,
    file: '',
    size,
    layout: 0,
    shards,
    experts: 1,
    projections: [],
  });
  const entry = (shard: string, targetOffset: number, size: number) => ({
    name: '',
    shard,
    sourceOffset: 0,
    targetOffset,
    size,
    shape: [],
    dtype: 'F32' as const,
  });
  const plan = {
    shards: [shard('a', 100), shard('b', 100), shard('c', 100)],
    dense: { entries: [entry('a', 0, 8), entry('c', 64, 8)] },
    layers: [layer(0, 50, ['a']), layer(1, 70, ['a', 'b']), layer(2, 60, ['c'])],
    order: ['a', 'b', 'c'],
  };
  expect(
    schedule(plan).map((s) => ('shard' in s ? `${s.type} ${s.shard}` : `layer ${s.layer}`)),
  ).toEqual([
    'fetch a',
    'dense a',
    'layer 0',
    'fetch b',
    'layer 1',
    'release a',
    'release b',
    'fetch c',
    'dense c',
    'layer 2',
    'release c',
  ]);
  // a, b, layer 0, layer 1 and eight dense bytes; later c, three layers and 72 dense bytes.
  expect(peakOf(plan)).toBe(Math.max(100 + 100 + 50 + 70 + 8, 100 + 50 + 70 + 60 + 72));
});

test('shards that hold nothing we keep are not fetched', async () => {
  const vision = { name: 'vision_tower.x', dtype: 'BF16', shape: [1000] };
  const plan = await planOf([[vision], tensors()]);
  expect(plan.order).toEqual(['model-00002-of-00002.safetensors']);
  expect(plan.skipped).toEqual(['vision_tower.x']);
});

test('shards in the order of their layers need no more room than numbered ones', async () => {
  const shards = deal(tensors(), 60_000);
  const plan = await planOf(shards);
  const backwards = await planOf(shards.toReversed());
  expect(backwards.peakBytes).toBeLessThan(plan.peakBytes * 1.1);
});

describe('the fingerprint', () => {
  test('is the same for the same input and another for any change', async () => {
    const plan = await planOf([tensors()]);
    expect((await planOf([tensors()])).fingerprint).toBe(plan.fingerprint);
    expect((await planOf([tensors()], CONFIG, '2bit')).fingerprint).not.toBe(plan.fingerprint);
    const { fingerprint: own, ...body } = plan;
    expect(fingerprint(body)).toBe(own);
    const [first, ...others] = body.shards;
    if (first === undefined) throw new Error('no shard');
    const moved = { ...body, shards: [{ ...first, sha256: 'f'.repeat(64) }, ...others] };
    expect(fingerprint(moved)).not.toBe(own);
  });

  test('survives JSON, key order and the last bit of a power', async () => {
    const { fingerprint: own, ...body } = await planOf([tensors()]);
    const copy = JSON.parse(JSON.stringify(body)) as typeof body;
    expect(fingerprint(copy)).toBe(own);
    expect(canonicalJson({ b: [1, { d: 0.1, c: null }], a: 0.1 + 0.2 })).toBe(
      canonicalJson({ a: 0.3, b: [1, { c: null, d: 0.1 }] }),
    );
  });
});

describe('a checkpoint that does not fit its config is refused', () => {
  test('with every unknown and missing name', async () => {
    const odd = [
      'model.layers.0.self_attn.q_proj.bias',
      '../../etc/passwd',
      'model.layers.1.mlp.switch_mlp.gate_proj.extra',
      'a\u001b[31m',
    ];
    const kept = tensors().filter(
      ({ name }) =>
        !name.includes('layers.2.mlp.switch_mlp.up_proj.weight') &&
        !name.endsWith('layers.1.self_attn.q_norm.weight'),
    );
    const error = await refusal([
      [...kept, ...odd.map((name) => ({ name, dtype: 'BF16', shape: [1] }))],
    ]);
    expect(error.code).toBe('ERR_UNSUPPORTED_MODEL');
    for (const name of odd) expect(error.message).toContain(JSON.stringify(name));
    expect(error.message).toContain('"model.layers.2.mlp.switch_mlp.up_proj.weight"');
    expect(error.message).toContain('"model.layers.1.self_attn.q_norm.weight"');
    expect(error.message).not.toContain('\u001b');
  });

  const change = (pattern: RegExp, edit: (t: Declared) => Declared) =>
    tensors().map((t) => (pattern.test(t.name) ? edit(t) : t));

  test.each<[string, Declared[], string]>([
    [
      'another shape',
      change(/0\.self_attn\.q_norm/, (t) => ({ ...t, shape: [33] })),
      'q_norm.weight is BF16 [33]',
    ],
    [
      'another width of rows',
      change(/0\.self_attn\.k_proj\.weight/, (t) => ({ ...t, shape: [65, 16] })),
      'k_proj.weight is U32 [65, 16]',
    ],
    [
      'seven bits',
      change(/0\.mlp\.gate\.weight/, (t) => ({ ...t, shape: [4, 28] })),
      'stored with 7 bits',
    ],
    [
      'bits between',
      change(/0\.mlp\.gate\.weight/, (t) => ({ ...t, shape: [4, 13] })),
      'mlp.gate.weight is U32 [4, 13]',
    ],
    [
      'groups of 8',
      change(/0\.mlp\.gate\.(scales|biases)/, (t) => ({ ...t, shape: [4, 16] })),
      'groups of 8',
    ],
    [
      'scales without biases',
      tensors().filter(({ name }) => !name.endsWith('0.mlp.gate.biases')),
      'only one of scales and biases',
    ],
    [
      'scales unlike biases',
      change(/0\.mlp\.gate\.biases/, (t) => ({ ...t, dtype: 'F16' })),
      'scales and biases alike',
    ],
    [
      'integers for scales',
      change(/1\.mlp\.gate\.(scales|biases)/, (t) => ({ ...t, dtype: 'U32' })),
      'U32',
    ],
    [
      'a plain tensor of integers',
      change(/model\.norm/, (t) => ({ ...t, dtype: 'U32' })),
      'model.norm.weight is U32',
    ],
    [
      'experts of another count',
      change(/1\.mlp\.switch_mlp\.up_proj\.weight/, (t) => ({ ...t, shape: [5, 64, 16] })),
      'up_proj.weight is U32 [5, 64, 16]',
    ],
    [
      'one parameter twice',
      [...tensors(), { name: 'language_model.model.norm.weight', dtype: 'BF16', shape: [128] }],
      'the same parameter',
    ],
    ['no scales at all', tensors(CONFIG, () => 0), 'unquantised'],
  ])('%s', async (_, declared, message) => {
    const error = await refusal([declared]);
    expect(error.code).toBe('ERR_UNSUPPORTED_MODEL');
    expect(error.message).toContain(message);
  });
});

test('layers of different widths refer to different layouts', async () => {
  const bits = (module: string) => (module.includes('layers.1.mlp.switch_mlp.down_proj') ? 8 : 4);
  const plan = await planOf([tensors(CONFIG, bits)]);
  expect(plan.layers.map(({ layout }) => layout)).toEqual([0, 1, 0]);
  const two = await planOf([tensors(CONFIG, bits)], CONFIG, '2bit');
  expect(two.layers.map(({ layout }) => layout)).toEqual([0, 0, 0]);
});

test('experts that stay at another width than asked for are a warning', async () => {
  const config = { ...CONFIG, quantization: { bits: 8, group_size: 64 } };
  const plan = await planOf([tensors(config, () => 8)], config);
  expect(plan.warnings).toEqual([
    '9 expert projections are stored with 8 bits in the source and stay so',
  ]);
});
