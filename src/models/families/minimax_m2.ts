// Grouped-query attention with one norm over all heads; experts in every layer, chosen by sigmoid.

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
import { partialDims, readRope, type RopeParameters, ropeSpec } from '../rope.js';
import type { LayerSpec, MoeSpec } from '../spec.js';

export const minimax_m2: Family = {
  modelType: 'minimax_m2',
  original: { gateBits: 8 },
  readSpec(config) {
    config.only('scoring_func', 'sigmoid');
    config.only('qk_norm_type', 'per_layer');
    config.only('shared_intermediate_size', 0);
    if (config.ints('attn_type_list').some((type) => type !== 1)) {
      throw unsupported('attn_type_list', config.raw('attn_type_list'), 'a list of 1');
    }
    const parameters = readRope(config, 1);
    const rope = ropeSpec(parameters, rotaryDims(config, parameters), 'half');
    const qkNorm = config.bool('use_qk_norm', true);
    const layers = Array.from(
      { length: layerCount(config) },
      (_, layer): LayerSpec => ({
        ...layerNorms(layer),
        mixer: gqa(config, layer, rope, { qkNorm, normAllHeads: true }),
        mlp: moe(config, layer),
      }),
    );
    return trunk(config, config, layers);
  },
};

/** The same under the name that conversions also give it. */
export const minimax: Family = { ...minimax_m2, modelType: 'minimax' };

/** Older files say dimensions, newer ones their share. */
function rotaryDims(config: Config, parameters: RopeParameters): number {
  const headDim = headDimOf(config);
  if (!config.has('rotary_dim')) return partialDims(parameters, headDim);
  const dims = config.int('rotary_dim', { max: headDim });
  if (dims % 2 !== 0) throw unsupported('rotary_dim', dims, 'an even number');
  return dims;
}

function moe(config: Config, layer: number): MoeSpec {
  const prefix = `${layerPrefix(layer)}.block_sparse_moe`;
  const experts = config.int('num_local_experts', { max: MAX_EXPERTS });
  const hasBias = config.bool('use_routing_bias', true);
  return {
    kind: 'moe',
    experts,
    topK: config.int('num_experts_per_tok', { max: experts }),
    intermediateSize: config.int('intermediate_size'),
    scoring: 'sigmoid',
    normTopK: true,
    groups: 1,
    topGroups: 1,
    routedScale: 1,
    shared: null,
    tensors: {
      router: `${prefix}.gate`,
      ...(hasBias && { choiceBias: `${prefix}.e_score_correction_bias` }),
    },
  };
}
