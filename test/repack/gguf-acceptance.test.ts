// Which models of the catalogue are taken as GGUF, from metadata and tensors with their real shapes, and at what size: the second
// table of docs/acceptance.md is made here. `FLASHMOE_WRITE=1` writes it anew.

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { packageRoot } from '../../src/base/package-root.js';
import { ggufName } from '../../src/models/gguf/architecture.js';
import { GgufMetadata, type GgufValue } from '../../src/models/gguf/metadata.js';
import { GGUF_ARCHITECTURES, readGgufModel } from '../../src/models/gguf/registry.js';
import { parametersOf } from '../../src/models/parameters.js';
import { buildGgufPlan } from '../../src/repack/gguf-plan.js';
import { ggufType } from '../../src/repack/gguf-types.js';
import type { PackPlan, SourceTensor } from '../../src/repack/types.js';
import { REAL_MODELS } from '../models/real-configs.js';
import { SEASON_MODELS } from '../models/season-configs.js';

type Config = Record<string, unknown>;

const ARCHITECTURES: Record<string, string> = {
  ...{ qwen3_moe: 'qwen3moe', qwen3_next: 'qwen3next', qwen3_5_moe: 'qwen35moe' },
  ...{ deepseek_v3: 'deepseek2', kimi_k2: 'deepseek2', glm4_moe: 'glm4moe' },
  ...{ minimax_m2: 'minimax-m2', gpt_oss: 'gpt-oss' },
};

/** Types of gate and up, of down, and of all other matrices; as the quantiser mixes them under these names, roughly. */
const MIXES: Record<string, [string, string, string]> = {
  Q2_K: ['Q2_K', 'Q3_K', 'Q6_K'],
  Q4_K_M: ['Q4_K', 'Q6_K', 'Q6_K'],
  Q8_0: ['Q8_0', 'Q8_0', 'Q8_0'],
};
const TYPES = new Map(
  Array.from({ length: 40 }, (_, number) => ggufType(number)).flatMap((type) =>
    typeof type === 'string' ? [] : [[type.name, type]],
  ),
);

/** Fields of config.json by the keys that the converter makes of them. */
const KEYS: Record<string, string[]> = {
  block_count: ['num_hidden_layers'],
  context_length: ['max_position_embeddings'],
  embedding_length: ['hidden_size'],
  feed_forward_length: ['intermediate_size', 'moe_intermediate_size'],
  vocab_size: ['vocab_size'],
  'attention.head_count': ['num_attention_heads'],
  'attention.head_count_kv': ['num_key_value_heads'],
  'attention.key_length': ['head_dim'],
  'attention.value_length': ['head_dim'],
  'attention.layer_norm_rms_epsilon': ['rms_norm_eps'],
  'attention.q_lora_rank': ['q_lora_rank'],
  'attention.kv_lora_rank': ['kv_lora_rank'],
  'attention.value_length_mla': ['v_head_dim'],
  'attention.sliding_window': ['sliding_window'],
  expert_count: ['num_experts', 'n_routed_experts', 'num_local_experts'],
  expert_used_count: ['num_experts_per_tok'],
  expert_feed_forward_length: ['moe_intermediate_size', 'intermediate_size'],
  expert_shared_feed_forward_length: ['shared_expert_intermediate_size'],
  expert_shared_count: ['n_shared_experts'],
  leading_dense_block_count: ['first_k_dense_replace'],
  expert_group_count: ['n_group'],
  expert_group_used_count: ['topk_group'],
  expert_weights_norm: ['norm_topk_prob'],
  expert_weights_scale: ['routed_scaling_factor'],
  full_attention_interval: ['full_attention_interval'],
  'ssm.conv_kernel': ['linear_conv_kernel_dim'],
  'ssm.state_size': ['linear_key_head_dim'],
  'ssm.group_count': ['linear_num_key_heads'],
  'ssm.time_step_rank': ['linear_num_value_heads'],
};

function metadataOf(config: Config, architecture: string): GgufMetadata {
  const values = new Map<string, GgufValue>([['general.architecture', architecture]]);
  const set = (key: string, value: unknown): void => {
    if (value === undefined || value === null) return;
    values.set(`${architecture}.${key}`, value as GgufValue);
  };
  for (const [key, fields] of Object.entries(KEYS)) {
    set(key, config[fields.find((field) => config[field] !== undefined) ?? '']);
  }
  const number = (field: string): number => Number(config[field] ?? 0);
  if (config.kv_lora_rank !== undefined) {
    set('attention.key_length_mla', number('qk_nope_head_dim') + number('qk_rope_head_dim'));
    set('rope.dimension_count', config.qk_rope_head_dim);
    set('expert_gating_func', 2);
  }
  const inner = number('linear_num_value_heads') * number('linear_value_head_dim');
  if (inner > 0) set('ssm.inner_size', inner);
  return new GgufMetadata(values);
}

function planOf(root: Config, mix: string): PackPlan {
  const text = (root.text_config ?? {}) as Config;
  const config: Config = { ...text, ...root };
  const metadata = metadataOf(config, ARCHITECTURES[String(root.model_type)] ?? '');
  const absent = new RegExp(
    [
      ...['nextn', 'attn_kv_b', 'ffn_gate\\.0'],
      ...(config.attention_bias === true ? [] : ['attn_q\\.bias']),
      ...(config.use_qk_norm === false ? ['attn_q_norm'] : []),
    ].join('|'),
  );
  const { architecture, spec } = readGgufModel(metadata, (name) => !absent.test(name));
  const tensors = new Map<string, SourceTensor>();
  let offset = 0;
  const add = (name: string, shape: number[], wanted: string): void => {
    const fits = (shape.at(-1) ?? 0) % (TYPES.get(wanted)?.values ?? 1) === 0;
    const type = TYPES.get(fits ? wanted : 'Q8_0');
    if (type === undefined) throw new Error(wanted);
    const values = shape.reduce((product, d) => product * d, 1);
    const size = (values / type.values) * type.bytes;
    tensors.set(name, { name, dtype: type.name, shape, shard: 'm.gguf', offset, size });
    offset += size;
  };
  const [gateUp = '', down = '', other = ''] = MIXES[mix] ?? [];
  const { linears, plains, routed } = parametersOf(spec);
  const named = (name: string): string => ggufName(name, architecture) ?? name;
  for (const { module, lead, rows, columns, bias } of linears) {
    const isPlain = /\.(gate|router|shared_expert_gate)$/.test(module);
    const own = `${module}.weight`;
    if (named(own) === own) continue;
    add(named(own), [...lead, rows, columns], isPlain ? 'F32' : other);
    if (bias) add(named(`${module}.bias`), [rows], 'F32');
  }
  for (const { mixer } of spec.layers) {
    if (mixer.kind !== 'gated_delta_net' || architecture.name !== 'qwen3next') continue;
    const name = named(`${mixer.tensors.a ?? ''}.weight`.replace('in_proj_a', 'in_proj_ba'));
    add(name, [2 * mixer.valueHeads, spec.hiddenSize], other);
  }
  for (const { name, shape } of plains) add(named(name), shape, 'F32');
  for (const { layer, experts: e, hiddenSize: h, intermediateSize: i, bias } of routed) {
    for (const [stem, rows, columns, type] of [
      ...([
        ['gate', i, h, gateUp],
        ['up', i, h, gateUp],
        ['down', h, i, down],
      ] as const),
    ]) {
      add(`blk.${layer}.ffn_${stem}_exps.weight`, [e, rows, columns], type);
      if (bias) add(`blk.${layer}.ffn_${stem}_exps.bias`, [e, rows], 'F32');
    }
  }
  const shards = [{ path: 'm.gguf', size: offset, sha256: '0'.repeat(64) }];
  const input = { metadata, inventory: { shards, tensors }, quant: '4bit' as const };
  return buildGgufPlan({ ...input, repo: 'org/name', commit: 'c'.repeat(40) });
}

function gigabytes(id: string, config: Config, mix: string): string {
  const { finalBytes, shards, layers, spec } = planOf(config, mix);
  const [{ size } = { size: 0 }] = shards;
  expect(layers.length, id).toBe(spec.layers.filter(({ mlp }) => mlp.kind === 'moe').length);
  // Strides, alignment and manifests come on top of the file's own bytes, and nothing else does.
  expect(finalBytes / size, `${id} ${mix}`).toBeGreaterThan(1);
  expect(finalBytes / size, `${id} ${mix}`).toBeLessThan(1.02);
  return (finalBytes / 1e9).toFixed(0);
}

test('the page has the table of models that are taken as GGUF, with the bytes of each', async () => {
  const rows: string[] = [];
  const seen = new Set<string>();
  const known = new Map<string, string[]>();
  for (const { id, config } of [...REAL_MODELS, ...SEASON_MODELS] as {
    id: string;
    config: Config;
  }[]) {
    const architecture = ARCHITECTURES[String(config.model_type)];
    if (architecture === undefined) continue;
    seen.add(architecture);
    const key = JSON.stringify(config);
    const cells = known.get(key) ?? Object.keys(MIXES).map((mix) => gigabytes(id, config, mix));
    known.set(key, cells);
    rows.push(`| ${id} | \`${architecture}\` | ${cells.join(' | ')} |`);
  }
  expect([...seen].sort()).toEqual([...GGUF_ARCHITECTURES].sort());
  const path = join(packageRoot, 'docs', 'acceptance.md');
  const page = await readFile(path, 'utf8');
  const [, head = '', , tail = ''] =
    /^([\s\S]*## GGUF\n[\s\S]*?\n\| --- [^\n]*\n)([\s\S]*?)(\n\n[\s\S]*|\n)$/.exec(page) ?? [];
  const made = head + rows.join('\n') + tail;
  if (process.env['FLASHMOE_WRITE'] === '1') await writeFile(path, made);
  else expect(page).toBe(made);
}, 120_000);
