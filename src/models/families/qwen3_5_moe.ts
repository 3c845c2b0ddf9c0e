// Three gated delta-net layers to one of gated attention, routed experts with a shared one behind a gate.

import { type Config, unsupported } from '../config.js';
import {
  type Family,
  gatedMlpTensors,
  gqa,
  headDimOf,
  layerCount,
  layerNorms,
  layerPrefix,
  MAX_EXPERTS,
  MAX_HEAD_DIM,
  MAX_HEADS,
  requireDivisor,
  trunk,
} from '../family.js';
import { partialDims, readRope, ropeSpec } from '../rope.js';
import type { GatedDeltaNetSpec, LayerSpec, ModelSpec, MoeSpec } from '../spec.js';

// On the sum of squares, as the authors' implementation has it. MLX adds it to the mean, which shows only
// where a key is almost zero.
const QK_NORM_EPS = 1e-6;

/** Where config.json says neither which layers attend nor how often. */
const FULL_INTERVAL = 4;

export const qwen3_5_moe: Family = {
  modelType: 'qwen3_5_moe',
  original: { normsLessOne: true, gateBits: 8 },
  readSpec: (root) => gatedHybrid(root.object('text_config') ?? root, root, deltaNet),
};

/** The same without its wrapper. */
export const qwen3_5_moe_text: Family = { ...qwen3_5_moe, modelType: 'qwen3_5_moe_text' };

/** `config` has the text model's fields, `root` the type. */
export function gatedHybrid(
  config: Config,
  root: Config,
  deltaNetOf: (config: Config, layer: number) => GatedDeltaNetSpec,
): ModelSpec {
    config.only('mamba_ssm_dtype', 'float32');
    config.only('decoder_sparse_step', 1);
    config.only('norm_topk_prob', true);
    if (config.ints('mlp_only_layers').length > 0) {
      throw unsupported(config.name('mlp_only_layers'), config.raw('mlp_only_layers'), '[]');
    }
    const full = fullAttentionLayers(config);
    const parameters = readRope(config, 0.25);
    const dims = partialDims(parameters, headDimOf(config));
    const rope = ropeSpec(parameters, dims, 'half');
    const outputGate = config.bool('attn_output_gate', true);
    const layers = full.map(
      (isFull, layer): LayerSpec => ({
        ...layerNorms(layer),
        mixer: isFull ? gqa(config, layer, rope, { outputGate }) : deltaNetOf(config, layer),
        mlp: moe(config, layer),
      }),
    );
    return trunk(config, root, layers);
}

function fullAttentionLayers(config: Config): boolean[] {
  const count = layerCount(config);
  const types = config.strings('layer_types');
  if (types === null) {
    const interval = config.int('full_attention_interval', { fallback: FULL_INTERVAL });
    return Array.from({ length: count }, (_, layer) => (layer + 1) % interval === 0);
  }
  if (types.length !== count) {
    throw unsupported(config.name('layer_types'), types, `a list of ${count} layer types`);
  }
  return types.map((type) => {
    if (type === 'full_attention') return true;
    if (type === 'linear_attention') return false;
    throw unsupported(config.name('layer_types'), type, '"full_attention", "linear_attention"');
  });
}

export function deltaNet(config: Config, layer: number): GatedDeltaNetSpec {
  const prefix = `${layerPrefix(layer)}.linear_attn`;
  const keyHeads = config.int('linear_num_key_heads', { max: MAX_HEADS });
  const valueHeads = config.int('linear_num_value_heads', { max: MAX_HEADS });
  requireDivisor(config, 'linear_num_key_heads', keyHeads, valueHeads);
  return {
    kind: 'gated_delta_net',
    keyHeads,
    valueHeads,
    keyDim: config.int('linear_key_head_dim', { max: MAX_HEAD_DIM }),
    valueDim: config.int('linear_value_head_dim', { max: MAX_HEAD_DIM }),
    convKernel: config.int('linear_conv_kernel_dim', { min: 2, max: 16 }),
    qkNormEps: QK_NORM_EPS,
    tensors: {
      qkv: `${prefix}.in_proj_qkv`,
      z: `${prefix}.in_proj_z`,
      a: `${prefix}.in_proj_a`,
      b: `${prefix}.in_proj_b`,
      conv: `${prefix}.conv1d`,
      aLog: `${prefix}.A_log`,
      dtBias: `${prefix}.dt_bias`,
      norm: `${prefix}.norm`,
      out: `${prefix}.out_proj`,
    },
  };
}

function moe(config: Config, layer: number): MoeSpec {
  const prefix = `${layerPrefix(layer)}.mlp`;
  const experts = config.int('num_experts', { max: MAX_EXPERTS });
  return {
    kind: 'moe',
    experts,
    topK: config.int('num_experts_per_tok', { max: experts }),
    intermediateSize: config.int('moe_intermediate_size'),
    scoring: 'softmax',
    normTopK: true,
    groups: 1,
    topGroups: 1,
    routedScale: 1,
    shared: {
      intermediateSize: config.int('shared_expert_intermediate_size'),
      tensors: {
        ...gatedMlpTensors(`${prefix}.shared_expert`),
        sigmoidGate: `${prefix}.shared_expert_gate`,
      },
    },
    tensors: { router: `${prefix}.gate` },
  };
}
