// Latent attention with YaRN and interleaved pairs, sigmoid routing limited to groups, first layers dense.

import { type Config, unsupported } from '../config.js';
import {
  denseMlp,
  type Family,
  layerCount,
  layerNorms,
  layerPrefix,
  MAX_HEAD_DIM,
  MAX_HEADS,
  trunk,
} from '../family.js';
import { type RopeParameters, readRope, ropeSpec, yarnSoftmaxFactor } from '../rope.js';
import { sigmoidMoe } from '../sigmoid-moe.js';
import type { LayerSpec, MlaSpec, ModelSpec } from '../spec.js';

// The authors' code uses the literal for the two low-rank norms, not rms_norm_eps.
const LORA_NORM_EPS = 1e-6;

export const deepseek_v3: Family = {
  modelType: 'deepseek_v3',
  readSpec: (config, has) => latentModel(config, config, has),
};

/** `config` has the text model's fields, `root` the type; `mixerOf` adds to a layer's attention. */
export function latentModel(
  config: Config,
  root: Config,
  has: (name: string) => boolean,
  mixerOf: (mla: MlaSpec, layer: number, rope: RopeParameters) => MlaSpec = (mla) => mla,
): ModelSpec {
  config.only('attention_bias', false);
  config.only('topk_method', 'noaux_tc');
  config.only('scoring_func', 'sigmoid');
  config.only('rope_interleave', true);
  const rope = readRope(config, 1);
  const firstDense = config.int('first_k_dense_replace', { min: 0 });
  const every = config.int('moe_layer_freq', { fallback: 1 });
  const layers = Array.from({ length: layerCount(config) }, (_, layer): LayerSpec => {
    const routed = layer >= firstDense && layer % every === 0;
    return {
      ...layerNorms(layer),
      mixer: mixerOf(mla(config, layer, rope, has), layer, rope),
      mlp: routed ? sigmoidMoe(config, layer) : denseMlp(config, layer),
    };
  });
  return trunk(config, root, layers);
}

function mla(
  config: Config,
  layer: number,
  rope: RopeParameters,
  has: (name: string) => boolean,
): MlaSpec {
  const prefix = `${layerPrefix(layer)}.self_attn`;
  const nopeDim = config.int('qk_nope_head_dim', { max: MAX_HEAD_DIM });
  const ropeDim = config.int('qk_rope_head_dim', { max: MAX_HEAD_DIM });
  if (ropeDim % 2 !== 0) throw unsupported('qk_rope_head_dim', ropeDim, 'an even number');
  const qLoraRank = config.has('q_lora_rank') ? config.int('q_lora_rank') : null;
  // Conversions from February 2026 on store the two halves of kv_b_proj apart, one of them transposed.
  const isSplit = has(`${prefix}.embed_q.weight`);
  return {
    kind: 'mla',
    heads: config.int('num_attention_heads', { max: MAX_HEADS }),
    qLoraRank,
    kvLoraRank: config.int('kv_lora_rank', { max: 2 ** 14 }),
    nopeDim,
    ropeDim,
    valueDim: config.int('v_head_dim', { max: MAX_HEAD_DIM }),
    scale: (nopeDim + ropeDim) ** -0.5 * yarnSoftmaxFactor(rope.yarn),
    loraNormEps: LORA_NORM_EPS,
    rope: ropeSpec(rope, ropeDim, 'interleaved'),
    tensors: {
      ...(qLoraRank === null
        ? { q: `${prefix}.q_proj` }
        : {
            qA: `${prefix}.q_a_proj`,
            qANorm: `${prefix}.q_a_layernorm`,
            qB: `${prefix}.q_b_proj`,
          }),
      kvA: `${prefix}.kv_a_proj_with_mqa`,
      kvANorm: `${prefix}.kv_a_layernorm`,
      ...(isSplit
        ? { embedQ: `${prefix}.embed_q`, unembedOut: `${prefix}.unembed_out` }
        : { kvB: `${prefix}.kv_b_proj` }),
      o: `${prefix}.o_proj`,
    },
  };
}
