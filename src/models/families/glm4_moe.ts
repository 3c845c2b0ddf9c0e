// Grouped-query attention with biases whose heads rotate in part; sigmoid routing, first layers dense.

import {
  denseMlp,
  type Family,
  gqa,
  headDimOf,
  layerCount,
  layerNorms,
  trunk,
} from '../family.js';
import { partialDims, readRope, ropeSpec } from '../rope.js';
import { sigmoidMoe } from '../sigmoid-moe.js';
import type { LayerSpec } from '../spec.js';

export const glm4_moe: Family = {
  modelType: 'glm4_moe',
  readSpec(config) {
    config.only('scoring_func', 'sigmoid');
    config.only('topk_method', 'noaux_tc');
    const parameters = readRope(config, 0.5);
    const dims = partialDims(parameters, headDimOf(config));
    const rope = ropeSpec(parameters, dims, 'half');
    const attention = {
      qkvBias: config.bool('attention_bias', false),
      qkNorm: config.bool('use_qk_norm', false),
    };
    const firstDense = config.int('first_k_dense_replace', { min: 0 });
    const layers = Array.from(
      { length: layerCount(config) },
      (_, layer): LayerSpec => ({
        ...layerNorms(layer),
        mixer: gqa(config, layer, rope, attention),
        mlp: layer >= firstDense ? sigmoidMoe(config, layer) : denseMlp(config, layer),
      }),
    );
    return trunk(config, config, layers);
  },
};
