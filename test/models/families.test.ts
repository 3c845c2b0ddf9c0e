import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { FlashmoeError } from '../../src/base/errors.js';
import { readModelSpec } from '../../src/models/registry.js';
import type { GatedDeltaNetSpec, GqaSpec, MlaSpec, ModelSpec, MoeSpec } from '../../src/models/spec.js';
import { FAMILIES, fixture } from '../repack/fixtures.js';
import { DEEPSEEK_V3, KIMI_K2, QWEN35_35B, QWEN35_397B, QWEN3_235B } from './real-configs.js';

const spec = (config: unknown, names: string[] = []) => readModelSpec(config, new Set(names));

function refusal(config: unknown): FlashmoeError {
  try {
    spec(config);
  } catch (error) {
    if (error instanceof FlashmoeError) return error;
    throw error;
  }
  throw new Error('the config was accepted');
}

function mixer<K extends string>(model: ModelSpec, layer: number, kind: K) {
  const found = model.layers[layer]?.mixer;
  expect(found?.kind).toBe(kind);
  return found as Extract<GqaSpec | GatedDeltaNetSpec | MlaSpec, { kind: K }>;
}

const moe = (model: ModelSpec, layer: number) => model.layers[layer]?.mlp as MoeSpec;

test('the 397B alternates three delta-net layers with one of gated attention', () => {
  const model = spec(QWEN35_397B);
  expect(model.layers.map(({ mixer }) => mixer.kind === 'gqa')).toEqual(
    Array.from({ length: 60 }, (_, layer) => layer % 4 === 3),
  );
  expect(mixer(model, 0, 'gated_delta_net')).toMatchObject({
    keyHeads: 16,
    valueHeads: 64,
    keyDim: 128,
    valueDim: 128,
    convKernel: 4,
    qkNormEps: 1e-6,
  });
  const attention = mixer(model, 3, 'gqa');
  expect(attention).toMatchObject({ heads: 32, kvHeads: 2, headDim: 256, scale: 1 / 16, outputGate: true });
  expect(attention.rope).toMatchObject({ pairing: 'half', dims: 64, magnitude: 1 });
  expect(attention.rope.invFreq).toHaveLength(32);
  expect(attention.rope.invFreq[1]).toBeCloseTo(1e7 ** (-2 / 64), 14);
  expect(moe(model, 0)).toMatchObject({ experts: 512, topK: 10, scoring: 'softmax', normTopK: true, routedScale: 1 });
  expect(model).toMatchObject({ lmHead: 'lm_head', vocabSize: 248320, maxPositions: 262144 });
});

test('35B layers are those of the 397B with other numbers', () => {
  const model = spec(QWEN35_35B);
  expect(mixer(model, 0, 'gated_delta_net').valueHeads).toBe(32);
  expect(moe(model, 39)).toMatchObject({ experts: 256, topK: 8, intermediateSize: 512 });
});

test('a list of layer types decides over the interval', () => {
  const text = { ...QWEN35_35B.text_config, num_hidden_layers: 2 };
  const types = ['full_attention', 'linear_attention'];
  const model = spec({ ...QWEN35_35B, text_config: { ...text, layer_types: types } });
  expect(model.layers.map(({ mixer }) => mixer.kind)).toEqual(['gqa', 'gated_delta_net']);
});

test('the 235B rotates whole heads and has routed experts in every layer', () => {
  const model = spec(QWEN3_235B);
  expect(mixer(model, 0, 'gqa')).toMatchObject({ outputGate: false, rope: { dims: 128, pairing: 'half' } });
  expect(model.layers.every(({ mlp }) => mlp.kind === 'moe')).toBe(true);
  expect(moe(model, 0).shared).toBeNull();
});

test('sparse steps and named layers of a Qwen3 model are dense', () => {
  const model = spec({ ...QWEN3_235B, num_hidden_layers: 6, decoder_sparse_step: 2, mlp_only_layers: [3] });
  expect(model.layers.map(({ mlp }) => mlp.kind)).toEqual([
    'dense_mlp', 'moe', 'dense_mlp', 'dense_mlp', 'dense_mlp', 'moe',
  ]);
});

test('DeepSeek V3 scales its softmax by YaRN and chooses experts from groups', () => {
  const model = spec(DEEPSEEK_V3);
  const mla = mixer(model, 0, 'mla');
  expect(mla.scale).toBeCloseTo(0.1352338, 7);
  expect(mla.rope).toMatchObject({ pairing: 'interleaved', dims: 64, magnitude: 1 });
  expect(mla.tensors).toMatchObject({ kvB: 'model.layers.0.self_attn.kv_b_proj', qA: expect.any(String) as string });
  expect(mla.tensors.embedQ).toBeUndefined();
  expect(model.layers.slice(0, 4).map(({ mlp }) => mlp.kind)).toEqual(['dense_mlp', 'dense_mlp', 'dense_mlp', 'moe']);
  expect(moe(model, 3)).toMatchObject({ scoring: 'sigmoid', groups: 8, topGroups: 4, routedScale: 2.5 });
});

test('YaRN leaves fast dimensions alone and slows the others by the factor', () => {
  const v3 = mixer(spec(DEEPSEEK_V3), 0, 'mla').rope.invFreq;
  for (let i = 0; i <= 10; i++) expect(v3[i]).toBeCloseTo(10000 ** ((-2 * i) / 64), 14);
  for (let i = 23; i < 32; i++) expect(v3[i]).toBeCloseTo(10000 ** ((-2 * i) / 64) / 40, 16);
  expect(v3[16]).toBeCloseTo(10000 ** -0.5 * (1 - 6 / 13 + 6 / 13 / 40), 14);
  // beta_fast = beta_slow: a step between 19 and 20.
  const k2 = mixer(spec(KIMI_K2), 0, 'mla');
  expect(k2.scale).toBeCloseTo(0.1308608, 7);
  expect(k2.rope.invFreq[19]).toBeCloseTo(50000 ** (-38 / 64), 14);
  expect(k2.rope.invFreq[20]).toBeCloseTo(50000 ** (-40 / 64) / 32, 15);
});

test('YaRN without mscale fields multiplies cos and sin instead of the softmax', () => {
  const rope_scaling = { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 32768 };
  const attention = mixer(spec({ ...QWEN3_235B, rope_scaling }), 0, 'gqa');
  expect(attention.rope.magnitude).toBeCloseTo(0.1 * Math.log(4) + 1, 12);
  expect(attention.scale).toBe(128 ** -0.5);
});

test('Kimi K2 has one expert group and one dense layer', () => {
  const model = spec(KIMI_K2);
  expect(model.modelType).toBe('kimi_k2');
  expect(moe(model, 1)).toMatchObject({ experts: 384, groups: 1, topGroups: 1, routedScale: 2.827 });
  expect(model.layers[0]?.mlp.kind).toBe('dense_mlp');
});

test('a conversion with split key and value halves is read under those names', () => {
  const names = Array.from({ length: 61 }, (_, i) => `model.layers.${i}.self_attn.embed_q.weight`);
  const mla = mixer(spec(KIMI_K2, names), 5, 'mla');
  expect(mla.tensors).toMatchObject({
    embedQ: 'model.layers.5.self_attn.embed_q',
    unembedOut: 'model.layers.5.self_attn.unembed_out',
  });
  expect(mla.tensors.kvB).toBeUndefined();
});

test('a tied head is the embedding', () => {
  expect(spec({ ...QWEN3_235B, tie_word_embeddings: true }).lmHead).toBe('model.embed_tokens');
});

describe.each(FAMILIES)('the %s fixture', (family) => {
  test('is read from its own config.json', () => {
    const config: unknown = JSON.parse(readFileSync(join(fixture(family), 'config.json'), 'utf8'));
    expect(spec(config)).toMatchObject({ modelType: family, hiddenSize: 128, vocabSize: 512 });
  });
});

describe('a config that asks for what is not built is refused by field and value', () => {
  const text = (change: object) => ({
    ...QWEN35_35B,
    text_config: { ...QWEN35_35B.text_config, ...change },
  });
  test.each<[string, unknown, string]>([
    ['a model_type', { model_type: 'llama' }, 'model_type = "llama"'],
    ['no model_type', {}, 'model_type = absent'],
    ['no object', [], '(root)'],
    ['another activation', { ...QWEN3_235B, hidden_act: 'gelu' }, 'hidden_act = "gelu"'],
    ['biased attention', text({ attention_bias: true }), 'text_config.attention_bias = true'],
    ['a sliding window', { ...QWEN3_235B, use_sliding_window: true }, 'use_sliding_window = true'],
    ['dense layers where there are none', text({ mlp_only_layers: [1] }), 'text_config.mlp_only_layers = [1]'],
    ['a missing field', text({ linear_key_head_dim: undefined }), 'text_config.linear_key_head_dim = absent'],
    ['a fractional size', { ...QWEN3_235B, hidden_size: 1.5 }, 'hidden_size = 1.5'],
    ['a negative size', { ...QWEN3_235B, hidden_size: -1 }, 'hidden_size = -1'],
    ['a million layers', { ...QWEN3_235B, num_hidden_layers: 1e6 }, 'num_hidden_layers = 1000000'],
    ['heads that cannot share', { ...QWEN3_235B, num_key_value_heads: 5 }, 'num_key_value_heads = 5'],
    ['more experts per token than experts', { ...QWEN3_235B, num_experts_per_tok: 129 }, 'num_experts_per_tok = 129'],
    ['more experts per token than chosen groups hold', { ...DEEPSEEK_V3, num_experts_per_tok: 129 }, 'num_experts_per_tok = 129'],
    ['uneven groups', { ...DEEPSEEK_V3, n_group: 7 }, 'n_group = 7'],
    ['another choice of experts', { ...DEEPSEEK_V3, topk_method: 'greedy' }, 'topk_method = "greedy"'],
    ['another scoring', { ...DEEPSEEK_V3, scoring_func: 'softmax' }, 'scoring_func = "softmax"'],
    ['another rope', { ...QWEN3_235B, rope_scaling: { type: 'dynamic', factor: 2 } }, 'rope_scaling.type = "dynamic"'],
    ['an unknown rope field', { ...QWEN3_235B, rope_scaling: { type: 'default', long_factor: [1] } }, 'rope_scaling.long_factor = [1]'],
    ['another layer type', text({ layer_types: Array<string>(40).fill('mamba') }), 'text_config.layer_types = "mamba"'],
  ])('%s', (_, config, message) => {
    const error = refusal(config);
    expect(error.code).toBe('ERR_UNSUPPORTED_MODEL');
    expect(error.message).toContain(message);
    expect(error.message).toContain('supported: ');
    expect(error.subject).toBe(message.split(' = ')[0]);
  });
});
