import { expect, test } from 'vitest';
import { manifestName, parseExpertName, skipReason } from '../../src/models/names.js';
import { isOriginalLayout } from '../../src/models/raw-layout.js';
import { isSideFile } from '../../src/models/repository-files.js';

test.each<[string, string | null]>([
  ['vision_tower.blocks.0.attn.qkv.weight', 'image encoder'],
  ['model.visual.patch_embed.proj.weight', 'image encoder'],
  ['multi_modal_projector.linear.weight', 'image encoder'],
  ['mtp.layers.0.mlp.gate.weight', 'multi-token prediction'],
  ['model.layers.60.mlp.gate.weight', 'multi-token prediction'],
  ['model.layers.99999999999999999999.x', 'multi-token prediction'],
  ['model.layers.59.mlp.gate.weight', null],
  ['model.layers.3.self_attn.rotary_emb.inv_freq', 'recomputed'],
  ['lm_head.weight', null],
  ['model.embed_tokens.weight', null],
])('%s is left out: %s', (name, reason) => {
  expect(skipReason(name, 60, false)).toBe(reason);
});

test('a tied head is left out', () => {
  expect(skipReason('lm_head.scales', 60, true)).toBe('tied to the embedding');
});

test('expert names give layer, projection and part', () => {
  const name = manifestName('language_model.model.layers.12.mlp.switch_mlp.up_proj.scales');
  expect(parseExpertName(name)).toEqual({ layer: 12, projection: 'up_proj', part: 'scales' });
  expect(parseExpertName('model.layers.3.mlp.experts.down_proj.bias')).toEqual({
    layer: 3,
    projection: 'down_proj',
    part: 'bias',
  });
  for (const other of [
    'model.layers.12.mlp.gate_proj.weight',
    'model.layers.12.mlp.switch_mlp.up_proj.zeros',
    'model.layers.x.mlp.switch_mlp.up_proj.weight',
  ]) {
    expect(parseExpertName(other)).toBeNull();
  }
});

const scales = { name: 'lm_head.scales', dtype: 'BF16', shape: [4, 1] };

test.each<[string, string, number[], string]>([
  ['model.layers.0.linear_attn.conv1d.weight', 'BF16', [256, 1, 4], 'convolution layout'],
  ['model.language_model.layers.0.x', 'BF16', [1], 'upstream tensor names'],
  ['model.layers.0.mlp.experts.gate_up_proj', 'BF16', [4, 8, 8], 'fused experts'],
  ['model.layers.0.mlp.experts.7.up_proj.weight', 'BF16', [8, 8], 'one tensor per expert'],
  ['model.layers.0.q_proj.weight_scale_inv', 'F32', [1], 'fp8'],
  ['model.layers.0.q_proj.weight', 'F8_E4M3', [8, 8], 'fp8'],
  ['model.layers.0.q_proj.weight_packed', 'I32', [8, 1], 'compressed-tensors'],
])('%s is of an original, and refused by name beside scales', (name, dtype, shape, meaning) => {
  expect(isOriginalLayout([{ name, dtype, shape }])).toBe(true);
  expect(() => isOriginalLayout([scales, { name, dtype, shape }])).toThrow(meaning);
  expect(() => isOriginalLayout([scales, { name, dtype, shape }])).toThrow(name);
});

test('a converted convolution beside scales is a conversion, AWQ and GPTQ are neither', () => {
  const conv = { name: 'x.conv1d.weight', dtype: 'BF16', shape: [256, 4, 1] };
  expect(isOriginalLayout([conv, scales])).toBe(false);
  const awq = { name: 'x.qweight', dtype: 'I32', shape: [8, 8] };
  expect(() => isOriginalLayout([awq])).toThrow('AWQ');
});

test('scripts and weights of a repository are no side files', () => {
  for (const path of ['config.json', 'tokenizer.json', 'tiktoken.model', 'chat_template.jinja']) {
    expect(isSideFile(path)).toBe(true);
  }
  for (const path of ['tokenization_kimi.py', 'sub/config.json', 'model.safetensors', 'README.md']) {
    expect(isSideFile(path)).toBe(false);
  }
});
