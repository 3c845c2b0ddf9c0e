// Attention with sinks, every other layer over a window; biases everywhere; experts with a clamped unit.

import { type Config, unsupported } from '../config.js';
import {
  type Family,
  gqa,
  headDimOf,
  layerCount,
  layerNorms,
  layerPrefix,
  MAX_EXPERTS,
  trunk,
} from '../family.js';
import { partialDims, readRope, ropeSpec } from '../rope.js';
import type { GqaSpec, LayerSpec, MoeSpec, RopeSpec } from '../spec.js';

export const gpt_oss: Family = {
  modelType: 'gpt_oss',
  original: { gateBits: 8, denseBits: 8 },
  readSpec(config) {
    const parameters = readRope(config, 1);
    const rope = ropeSpec(parameters, partialDims(parameters, headDimOf(config)), 'half');
    const count = layerCount(config);
    const types = config.strings('layer_types') ?? alternating(count);
    if (types.length !== count) {
      throw unsupported('layer_types', types, `a list of ${count} layer types`);
    }
    const layers = types.map(
      (type, layer): LayerSpec => ({
        ...layerNorms(layer),
        mixer: attention(config, layer, rope, type),
        mlp: moe(config, layer),
      }),
    );
    return trunk(config, config, layers);
  },
};

/** As the authors' code has it where config.json says nothing. */
function alternating(count: number): string[] {
  return Array.from({ length: count }, (_, layer) =>
    layer % 2 === 0 ? 'sliding_attention' : 'full_attention',
  );
}

function attention(config: Config, layer: number, rope: RopeSpec, type: string): GqaSpec {
  const isFull = type === 'full_attention';
  if (!isFull && type !== 'sliding_attention') {
    throw unsupported('layer_types', type, '"full_attention", "sliding_attention"');
  }
  const isBiased = config.bool('attention_bias', true);
  const plain = gqa(config, layer, rope, { qkNorm: false, qkvBias: isBiased, oBias: isBiased });
  return {
    ...plain,
    ...(!isFull && { window: config.int('sliding_window', { fallback: 128 }) }),
    tensors: { ...plain.tensors, sinks: `${layerPrefix(layer)}.self_attn.sinks` },
  };
}

function moe(config: Config, layer: number): MoeSpec {
  const experts = config.int('num_local_experts', { max: MAX_EXPERTS });
  return {
    kind: 'moe',
    experts,
    topK: config.int('num_experts_per_tok', { max: experts }),
    intermediateSize: config.int('intermediate_size'),
    // The authors choose first and take the softmax of the chosen; dividing a softmax over all by their sum is that.
    scoring: 'softmax',
    normTopK: true,
    groups: 1,
    topGroups: 1,
    routedScale: 1,
    routerBias: true,
    expertBias: true,
    clamp: config.number('swiglu_limit', { fallback: 7 }),
    shared: null,
    tensors: { router: `${layerPrefix(layer)}.mlp.router` },
  };
}
