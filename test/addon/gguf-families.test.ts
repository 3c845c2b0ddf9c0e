// Every architecture that GGUF files are read of, laid out as llama.cpp's converter does it, against plain double-precision
// arithmetic (test/helpers/reference) over the values before. Names and transformations are written down here a second time.

import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { packageRoot } from '../../src/base/package-root.js';
import { parametersOf } from '../../src/models/parameters.js';
import { packDirectory } from '../../src/repack/pack-directory.js';
import { type Geometry, writeCheckpoint } from '../helpers/reference/checkpoint.js';
import { computeAll } from '../helpers/reference/forward.js';
import { GEOMETRIES } from '../helpers/reference/geometries.js';
import { testAddon } from '../repack/fixtures.js';
import { ggufFile, type Pair, type Tensor } from '../repack/gguf-writer.js';
import { deviations } from './golden.js';

/** In standard deviations of the reference. */
const TOLERANCE = 1e-3;

const addon = testAddon();
let home: string;
beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'flashmoe-gguf-families-'));
});
afterAll(() => rm(home, { recursive: true, force: true }));

interface Values {
  shape: number[];
  values: Float64Array;
}
type Named = Map<string, Values>;
type Config = Record<string, unknown>;

interface Case {
  architecture: string;
  config: Config;
  isSplit?: boolean;
  pairs: [key: string, type: 'u32' | 'f32' | 'bool' | 'string' | 'numbers', value: never][];
  /** `blk.N.` tensors by what stands behind `model.layers.N.`; those of all stand below. */
  names: Record<string, string>;
  /** On the tensors by their names in the file. */
  change?: (all: Named, config: Record<string, number>) => void;
}

const geometry = (start: string): Config => {
  const [, found] = Object.entries(GEOMETRIES).find(([name]) => name.startsWith(start)) ?? [];
  const config = found?.config ?? {};
  const { text_config: text, ...root } = config as { text_config?: Config };
  return { ...text, ...root };
};

const NAMES: Record<string, string> = {
  ...{ input_layernorm: 'attn_norm', post_attention_layernorm: 'ffn_norm' },
  ...{ 'self_attn.q_proj': 'attn_q', 'self_attn.k_proj': 'attn_k', 'self_attn.v_proj': 'attn_v' },
  ...{ 'self_attn.o_proj': 'attn_output', 'self_attn.q_norm': 'attn_q_norm' },
  ...{ 'self_attn.k_norm': 'attn_k_norm', 'mlp.gate_proj': 'ffn_gate', 'mlp.up_proj': 'ffn_up' },
  ...{ 'mlp.down_proj': 'ffn_down', 'mlp.gate': 'ffn_gate_inp' },
  'mlp.switch_mlp.gate_proj': 'ffn_gate_exps',
  'mlp.switch_mlp.up_proj': 'ffn_up_exps',
  'mlp.switch_mlp.down_proj': 'ffn_down_exps',
  'mlp.gate.e_score_correction_bias': 'exp_probs_b.bias',
  ...{ 'mlp.shared_experts.gate_proj': 'ffn_gate_shexp' },
  ...{ 'mlp.shared_experts.up_proj': 'ffn_up_shexp' },
  ...{ 'mlp.shared_experts.down_proj': 'ffn_down_shexp' },
};

const hybrid = {
  post_attention_layernorm: 'post_attention_norm',
  ...{ 'linear_attn.conv1d': 'ssm_conv1d', 'linear_attn.norm': 'ssm_norm' },
  ...{ 'linear_attn.A_log': 'ssm_a', 'linear_attn.dt_bias': 'ssm_dt.bias' },
  'linear_attn.out_proj': 'ssm_out',
  ...{ 'mlp.shared_expert.gate_proj': 'ffn_gate_shexp' },
  ...{ 'mlp.shared_expert.up_proj': 'ffn_up_shexp' },
  ...{ 'mlp.shared_expert.down_proj': 'ffn_down_shexp' },
  'mlp.shared_expert_gate': 'ffn_gate_inp_shexp',
};
const hybridPairs = [
  ...[
    ['ssm.conv_kernel', 'u32', 3],
    ['ssm.state_size', 'u32', 24],
    ['ssm.group_count', 'u32', 3],
  ],
  ...[
    ['ssm.time_step_rank', 'u32', 9],
    ['ssm.inner_size', 'u32', 144],
  ],
  ...[
    ['expert_shared_feed_forward_length', 'u32', 80],
    ['rope.dimension_count', 'u32', 24],
  ],
] as Case['pairs'];

const rowsOf = ({ shape }: Values): number => shape[1] ?? 1;
/** Rows of a tensor in another order. */
function taken({ shape, values }: Values, order: number[]): Values {
  const width = values.length / (shape[0] ?? 1);
  const rows = order.flatMap((row) => [...values.slice(row * width, (row + 1) * width)]);
  return { shape: [order.length, ...shape.slice(1)], values: Float64Array.from(rows) };
}
const range = (from: number, count: number): number[] =>
  Array.from({ length: count }, (_, i) => from + i);
const together = (all: Named, names: string[], name: string, axis = 0): void => {
  const parts = names.map((each) => all.get(each) ?? { shape: [0], values: new Float64Array(0) });
  names.forEach((each) => all.delete(each));
  const [first] = parts;
  const experts = axis === 0 ? 1 : (first?.shape[0] ?? 1);
  const values = range(0, experts).flatMap((e) =>
    parts.flatMap(({ values: own }) => {
      const size = own.length / experts;
      return [...own.slice(e * size, (e + 1) * size)];
    }),
  );
  const shape = [...(first?.shape ?? [])];
  shape[axis] = parts.reduce((sum, part) => sum + (part.shape[axis] ?? 0), 0);
  all.set(name, { shape, values: Float64Array.from(values) });
};
const negatedRates = (all: Named): void => {
  for (const [name, { values }] of all) {
    if (name.endsWith('ssm_a')) values.forEach((value, i) => (values[i] = -Math.exp(value)));
  }
};

/** Heads of 24 key and 16 value dimensions: 3 key heads, 9 value heads. */
const [NK, DK, NV, DV] = [3, 24, 9, 16];
const R = NV / NK;
/** Value heads g*R + r, in the order r*NK + g. */
const TILED = range(0, NV).map((t) => (t % NK) * R + Math.floor(t / NK));
const tiledRows = (from: number, each: number): number[] =>
  TILED.flatMap((head) => range(from + head * each, each));

const CASES: Case[] = [
  {
    architecture: 'qwen3moe',
    config: { ...geometry('qwen3_moe, no head_dim'), mlp_only_layers: [] },
    pairs: [
      ...[
        ['expert_feed_forward_length', 'u32', 128],
        ['expert_count', 'u32', 7],
      ],
      ...[
        ['expert_used_count', 'u32', 3],
        ['rope.scaling.type', 'string', 'yarn'],
      ],
      ...[
        ['rope.scaling.factor', 'f32', 4],
        ['rope.scaling.original_context_length', 'u32', 32],
      ],
      ['attention.head_count_kv', 'numbers', [1, 1]],
    ] as Case['pairs'],
    names: {},
    // q, k and v in one tensor, as some converters have them.
    change: (all) => {
      for (const n of [0, 1]) {
        const names = ['q', 'k', 'v'].map((each) => `blk.${n}.attn_${each}.weight`);
        together(all, names, `blk.${n}.attn_qkv.weight`);
      }
    },
  },
  {
    architecture: 'deepseek2',
    config: {
      ...geometry('kimi_k2,'),
      ...{ model_type: 'deepseek_v3', first_k_dense_replace: 1, n_group: 3, topk_group: 2 },
      ...{ n_routed_experts: 12 },
      rope_scaling: {
        ...{ type: 'yarn', factor: 8, original_max_position_embeddings: 16, mscale: 0.7 },
        mscale_all_dim: 0.7,
      },
    },
    isSplit: true,
    pairs: [
      ...[
        ['attention.q_lora_rank', 'u32', 64],
        ['attention.kv_lora_rank', 'u32', 96],
      ],
      ...[
        ['attention.key_length', 'u32', 112],
        ['attention.value_length', 'u32', 96],
      ],
      ...[
        ['attention.key_length_mla', 'u32', 48],
        ['attention.value_length_mla', 'u32', 64],
      ],
      ...[
        ['rope.dimension_count', 'u32', 16],
        ['leading_dense_block_count', 'u32', 1],
      ],
      ...[
        ['expert_feed_forward_length', 'u32', 64],
        ['expert_count', 'u32', 12],
      ],
      ...[
        ['expert_used_count', 'u32', 5],
        ['expert_shared_count', 'u32', 1],
      ],
      ...[
        ['expert_group_count', 'u32', 3],
        ['expert_group_used_count', 'u32', 2],
      ],
      ...[
        ['expert_gating_func', 'u32', 2],
        ['expert_weights_norm', 'bool', true],
      ],
      ...[
        ['expert_weights_scale', 'f32', 1.7],
        ['rope.scaling.type', 'string', 'yarn'],
      ],
      ...[
        ['rope.scaling.factor', 'f32', 8],
        ['rope.scaling.original_context_length', 'u32', 16],
      ],
      ['rope.scaling.yarn_log_multiplier', 'f32', 0.07],
    ] as Case['pairs'],
    names: {
      ...{ 'self_attn.q_a_proj': 'attn_q_a', 'self_attn.q_a_layernorm': 'attn_q_a_norm' },
      ...{ 'self_attn.q_b_proj': 'attn_q_b', 'self_attn.kv_a_proj_with_mqa': 'attn_kv_a_mqa' },
      ...{ 'self_attn.kv_a_layernorm': 'attn_kv_a_norm', 'self_attn.embed_q': 'attn_k_b' },
      'self_attn.unembed_out': 'attn_v_b',
    },
  },
  {
    architecture: 'qwen3next',
    config: geometry('qwen3_next'),
    pairs: [
      ...hybridPairs,
      ...[
        ['full_attention_interval', 'u32', 3],
        ['expert_feed_forward_length', 'u32', 48],
      ],
      ...[
        ['expert_count', 'u32', 9],
        ['expert_used_count', 'u32', 5],
      ],
    ] as Case['pairs'],
    names: {
      ...hybrid,
      ...{ 'linear_attn.in_proj_qkvz': 'ssm_in', 'linear_attn.in_proj_ba': 'ssm_ba' },
    },
    change: (all) => {
      negatedRates(all);
      for (const [name, whole] of [...all]) {
        if (!name.endsWith('ssm_in.weight')) continue;
        const each = 2 * DK + 2 * R * DV;
        const of = (from: number, count: number): number[] =>
          range(0, NK).flatMap((g) => range(g * each + from, count));
        const rows = [...of(0, DK), ...of(DK, DK), ...of(2 * DK, R * DV)];
        all.set(name.replace('ssm_in', 'attn_qkv'), taken(whole, rows));
        all.set(name.replace('ssm_in', 'attn_gate'), taken(whole, of(2 * DK + R * DV, R * DV)));
        all.delete(name);
      }
    },
  },
  {
    architecture: 'qwen35moe',
    config: geometry('qwen3_5_moe'),
    pairs: [
      ...hybridPairs,
      ...[
        ['full_attention_interval', 'u32', 4],
        ['expert_feed_forward_length', 'u32', 48],
      ],
      ...[
        ['expert_count', 'u32', 9],
        ['expert_used_count', 'u32', 5],
      ],
      ['rope.dimension_sections', 'numbers', [6, 3, 3, 0]],
      ['attention.head_count_kv', 'numbers', [0, 0, 0, 2, 0]],
    ] as Case['pairs'],
    names: {
      ...hybrid,
      ...{ 'linear_attn.in_proj_qkv': 'attn_qkv', 'linear_attn.in_proj_z': 'attn_gate' },
      ...{ 'linear_attn.in_proj_b': 'ssm_beta', 'linear_attn.in_proj_a': 'ssm_alpha' },
    },
    change: (all) => {
      negatedRates(all);
      const first = [...range(0, 2 * NK * DK), ...tiledRows(2 * NK * DK, DV)];
      for (const [name, whole] of [...all]) {
        const [, , short = ''] = name.split('.');
        if (['attn_qkv', 'ssm_conv1d'].includes(short)) all.set(name, taken(whole, first));
        if (short === 'attn_gate') all.set(name, taken(whole, tiledRows(0, DV)));
        if (['ssm_beta', 'ssm_alpha', 'ssm_a', 'ssm_dt'].includes(short)) {
          all.set(name, taken(whole, TILED));
        }
        if (short === 'ssm_out') {
          const columns = rowsOf(whole);
          const order = tiledRows(0, DV);
          const values = whole.values.map(
            (_, i) => whole.values[i - (i % columns) + (order[i % columns] ?? 0)] ?? 0,
          );
          all.set(name, { shape: whole.shape, values });
        }
      }
    },
  },
  {
    architecture: 'glm4moe',
    config: { ...geometry('glm4_moe'), attention_bias: true, use_qk_norm: true },
    pairs: [
      // One block of multi-token prediction is counted.
      ...[
        ['block_count', 'u32', 5],
        ['nextn_predict_layers', 'u32', 1],
      ],
      ...[
        ['rope.dimension_count', 'u32', 16],
        ['leading_dense_block_count', 'u32', 2],
      ],
      ...[
        ['expert_feed_forward_length', 'u32', 64],
        ['expert_count', 'u32', 13],
      ],
      ...[
        ['expert_used_count', 'u32', 5],
        ['expert_shared_count', 'u32', 2],
      ],
      ...[
        ['expert_weights_norm', 'bool', false],
        ['expert_weights_scale', 'f32', 1.7],
      ],
    ] as Case['pairs'],
    names: { post_attention_layernorm: 'post_attention_norm' },
    change: (all) => {
      const { shape, values } = all.get('blk.0.attn_norm.weight') ?? { shape: [], values: [] };
      for (const name of ['nextn.eh_proj', 'nextn.enorm', 'attn_norm']) {
        all.set(`blk.4.${name}.weight`, { shape, values: Float64Array.from(values) });
      }
    },
  },
  {
    architecture: 'minimax-m2',
    config: geometry('minimax_m2'),
    pairs: [
      ...[
        ['rope.dimension_count', 'u32', 24],
        ['expert_feed_forward_length', 'u32', 80],
      ],
      ...[
        ['expert_count', 'u32', 5],
        ['expert_used_count', 'u32', 5],
      ],
      ['expert_gating_func', 'u32', 2],
    ] as Case['pairs'],
    names: {
      'block_sparse_moe.gate': 'ffn_gate_inp',
      'block_sparse_moe.e_score_correction_bias': 'exp_probs_b.bias',
    },
    // Gate and up in one tensor, as newer converters can have them.
    change: (all) => {
      for (const n of [0, 1]) {
        const names = ['gate', 'up'].map((each) => `blk.${n}.ffn_${each}_exps.weight`);
        together(all, names, `blk.${n}.ffn_gate_up_exps.weight`, 1);
      }
    },
  },
  {
    architecture: 'gpt-oss',
    config: { ...geometry('gpt_oss'), swiglu_limit: 7 },
    pairs: [
      ...[
        ['expert_feed_forward_length', 'u32', 160],
        ['expert_count', 'u32', 5],
      ],
      ...[
        ['expert_used_count', 'u32', 2],
        ['attention.sliding_window', 'u32', 5],
      ],
      ...[
        ['rope.scaling.type', 'string', 'yarn'],
        ['rope.scaling.factor', 'f32', 4],
      ],
      ['rope.scaling.original_context_length', 'u32', 16],
    ] as Case['pairs'],
    names: {
      post_attention_layernorm: 'post_attention_norm',
      ...{ 'mlp.router': 'ffn_gate_inp', 'self_attn.sinks': 'attn_sinks.weight' },
    },
  },
];

/** The file's name; `.weight` and `.bias` stay behind a module's. */
function fileName(name: string, names: Record<string, string>): string {
  const trunk = { 'model.embed_tokens': 'token_embd', 'model.norm': 'output_norm' };
  const [, layer, below = name] = /^model\.layers\.(\d+)\.(.+)$/.exec(name) ?? [];
  const known: Record<string, string> = { ...trunk, lm_head: 'output', ...NAMES, ...names };
  const [, module = below, part = ''] = /^(.+)\.(weight|bias)$/.exec(below) ?? [];
  const found = known[below] ?? `${known[module] ?? module}.${part}`;
  return layer === undefined ? found : `blk.${layer}.${found}`;
}

const KEYS: [string, Pair[1], string][] = [
  ...([['block_count', 'u32', 'num_hidden_layers']] as [string, Pair[1], string][]),
  ['embedding_length', 'u32', 'hidden_size'],
  ['context_length', 'u32', 'max_position_embeddings'],
  ['feed_forward_length', 'u32', 'intermediate_size'],
  ['attention.head_count', 'u32', 'num_attention_heads'],
  ['attention.head_count_kv', 'u32', 'num_key_value_heads'],
  ['attention.key_length', 'u32', 'head_dim'],
  ['attention.value_length', 'u32', 'head_dim'],
  ['attention.layer_norm_rms_epsilon', 'f32', 'rms_norm_eps'],
  ['rope.freq_base', 'f32', 'rope_theta'],
];

test.each(CASES)(
  '$architecture: logits and hidden states are those of double precision',
  async ({ architecture, config, isSplit = false, pairs, names, change }) => {
    const folder = join(home, architecture);
    const plain: Geometry = { config, bits: () => 0, groupSize: 32, isSplit };
    const checkpoint = await writeCheckpoint(join(folder, 'source'), plain, 5);
    const { linears, plains, routed } = parametersOf(checkpoint.spec);
    const shapes = new Map<string, number[]>(plains.map(({ name, shape }) => [name, shape]));
    for (const { module, lead, rows, columns, bias } of linears) {
      shapes.set(`${module}.weight`, [...lead, rows, columns]);
      if (bias) shapes.set(`${module}.bias`, [rows]);
    }
    for (const { layer, experts, hiddenSize: h, intermediateSize: i, bias } of routed) {
      for (const name of ['gate_proj', 'up_proj', 'down_proj']) {
        const module = `model.layers.${layer}.mlp.switch_mlp.${name}`;
        const [rows, columns] = name === 'down_proj' ? [h, i] : [i, h];
        shapes.set(`${module}.weight`, [experts, rows, columns]);
        if (bias) shapes.set(`${module}.bias`, [experts, rows]);
      }
    }
    const all: Named = new Map();
    for (const [name, shape] of shapes) {
      const values = checkpoint.values.get(name.replace(/\.weight$/, ''));
      if (values === undefined) throw new Error(`no values of ${name}`);
      all.set(fileName(name, names), { shape, values: Float64Array.from(values) });
    }
    change?.(all, config as Record<string, number>);

    const own = new Map<string, Pair>();
    const add = (key: string, type: string, value: unknown): void => {
      own.set(key, [`${architecture}.${key}`, type, value] as unknown as Pair);
    };
    const rope = config.rope_parameters as { rope_theta?: number } | undefined;
    for (const [key, type, field] of KEYS) {
      const value = config[field] ?? (field === 'rope_theta' ? rope?.rope_theta : undefined);
      if (value !== undefined) add(key, type, value);
    }
    for (const [key, type, value] of pairs) add(key, type, value);
    const tokens = range(0, 96).map((i) => String.fromCodePoint(0x100 + i));
    const file = ggufFile({
      pairs: [
        ['general.architecture', 'string', architecture],
        ...own.values(),
        ['tokenizer.ggml.model', 'string', 'gpt2'],
        ['tokenizer.ggml.pre', 'string', 'qwen2'],
        ['tokenizer.ggml.tokens', 'strings', tokens],
        ['tokenizer.ggml.merges', 'strings', []],
      ],
      tensors: [...all].map(([name, { shape, values }]): Tensor => {
        const dims = shape.filter((d, i) => i === 0 || d !== 1).reverse();
        const data = new Uint8Array(Float32Array.from(values).buffer);
        return { name, dims, type: 0, offset: null, bytes: data.length, data };
      }),
    });
    await mkdir(join(folder, 'gguf'));
    await writeFile(join(folder, 'gguf', 'model.gguf'), file);

    const made = { addon, quant: '4bit' as const, threads: 2 };
    const packed = await packDirectory(join(folder, 'gguf'), join(folder, 'packed'), made);
    const engine = await addon.openEngine({
      ...{ modelDir: packed.modelDir, expertsDir: packed.expertsDir, threads: 2, ioThreads: 2 },
      ...{ tokenLimit: 96, expertsPerToken: 0, cache: 'f32', backend: 'cpu' },
      kernelsDir: join(packageRoot, 'metal'),
    }).done;
    const ids = Int32Array.from({ length: 34 }, (_, i) => (i * i * 7 + i * 3 + 5) % 92);
    const reference = computeAll(checkpoint, [...ids]);
    const session = engine.createSession(64);
    const { logits, hidden } = await session.evaluate(ids, true).done;
    session.close();
    engine.close();
    const off = [logits, ...hidden].map((got, i) =>
      deviations(got, i === 0 ? reference.logits : (reference.hidden[i - 1] ?? got)),
    );
    console.log(`${architecture}: ${off.map((value) => value.toExponential(1)).join(' ')}`);
    expect(hidden).toHaveLength(reference.hidden.length);
    off.forEach((value, i) => expect(value, `${i}`).toBeLessThan(TOLERANCE));
  },
  60_000,
);
