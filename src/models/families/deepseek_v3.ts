// Latent attention with YaRN and interleaved pairs, sigmoid routing limited to groups, first layers dense.

import { type Config, unsupported } from '../config.js';
import {
  denseMlp,
  type Family,
  gatedMlpTensors,
  layerCount,
  layerNorms,
  layerPrefix,
  MAX_EXPERTS,
  MAX_HEAD_DIM,
  MAX_HEADS,
  trunk,
} from '../family.js';
import { type RopeParameters, readRope, ropeSpec, yarnSoftmaxFactor } from '../rope.js';
import type { LayerSpec, MlaSpec, MoeSpec } from '../spec.js';

// The authors' code uses the literal for the two low-rank norms, not rms_norm_eps.
const LORA_NORM_EPS = 1e-6;

export const deepseek_v3: Family = {
  modelType: 'deepseek_v3',
  readSpec(config, has) {
    config.only('attention_bias', false);
    config.only('topk_method', 'noaux_tc');
    config.only('scoring_func', 'sigmoid');
    const rope = readRope(config, 1);
    const firstDense = config.int('first_k_dense_replace', { min: 0 });
    const every = config.int('moe_layer_freq', { fallback: 1 });
    const layers = Array.from({ length: layerCount(config) }, (_, layer): LayerSpec => {
      const routed = layer >= firstDense && layer % every === 0;
      return {
        ...layerNorms(layer),
        mixer: mla(config, layer, rope, has),
        mlp: routed ? moe(config, layer) : denseMlp(config, layer),
      };
    });
    return trunk(config, config, layers);
  },
};

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

function moe(config: Config, layer: number): MoeSpec {
  const prefix = `${layerPrefix(layer)}.mlp`;
  const experts = config.int('n_routed_experts', { max: MAX_EXPERTS });
  const groups = config.int('n_group', { max: experts, fallback: 1 });
  const topGroups = config.int('topk_group', { max: groups, fallback: 1 });
  if (experts % groups !== 0) {
    throw unsupported(config.name('n_group'), groups, `a divisor of ${experts} experts`);
  }
  const intermediateSize = config.int('moe_intermediate_size');
  const shared = config.int('n_shared_experts', { min: 0, max: 64, fallback: 0 });
  return {
    kind: 'moe',
    experts,
    // Only experts of the chosen groups can be taken.
    topK: config.int('num_experts_per_tok', { max: (topGroups * experts) / groups }),
    intermediateSize,
    scoring: 'sigmoid',
    normTopK: config.bool('norm_topk_prob'),
    groups,
    topGroups,
    routedScale: config.number('routed_scaling_factor'),
    shared:
      shared === 0
        ? null
        : {
            intermediateSize: intermediateSize * shared,
            tensors: gatedMlpTensors(`${prefix}.shared_experts`),
          },
    tensors: {
      router: `${prefix}.gate`,
      choiceBias: `${prefix}.gate.e_score_correction_bias`,
    },
  };
}
