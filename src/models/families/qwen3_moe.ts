// Grouped-query attention with normalised queries and keys; routed experts only.

import type { Config } from '../config.js';
import { denseMlp, type Family, gqa, headDimOf, layerCount, layerNorms, layerPrefix, MAX_EXPERTS, trunk } from '../family.js';
import { partialDims, readRope, ropeSpec } from '../rope.js';
import type { LayerSpec, MoeSpec } from '../spec.js';

export const qwen3_moe: Family = {
  modelType: 'qwen3_moe',
  original: { gateBits: 8 },
  readSpec(config) {
    config.only('use_sliding_window', false);
    const parameters = readRope(config, 1);
    const rope = ropeSpec(parameters, partialDims(parameters, headDimOf(config)), 'half');
    const isBiased = config.bool('attention_bias', false);
    const attention = { qkvBias: isBiased, oBias: isBiased };
    const dense = new Set(config.ints('mlp_only_layers'));
    const step = config.int('decoder_sparse_step', { fallback: 1 });
    const layers = Array.from({ length: layerCount(config) }, (_, layer): LayerSpec => {
      const routed = !dense.has(layer) && (layer + 1) % step === 0;
      return {
        ...layerNorms(layer),
        mixer: gqa(config, layer, rope, isBiased ? attention : {}),
        mlp: routed ? moe(config, layer) : denseMlp(config, layer),
      };
    });
    return trunk(config, config, layers);
  },
};

function moe(config: Config, layer: number): MoeSpec {
  const experts = config.int('num_experts', { max: MAX_EXPERTS });
  return {
    kind: 'moe',
    experts,
    topK: config.int('num_experts_per_tok', { max: experts }),
    intermediateSize: config.int('moe_intermediate_size'),
    scoring: 'softmax',
    normTopK: config.bool('norm_topk_prob'),
    groups: 1,
    topGroups: 1,
    routedScale: 1,
    shared: null,
    tensors: { router: `${layerPrefix(layer)}.mlp.gate` },
  };
}
