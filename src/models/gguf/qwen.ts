// Qwen3 MoE, and its heirs with three gated delta-net layers to one of attention.

import type { GatedDeltaNetSpec, ModelSpec } from '../spec.js';
import {
  attentionFields,
  blocksOf,
  type GgufArchitecture,
  requireNoScale,
  requireScoring,
} from './architecture.js';
import { type GgufMetadata, unsupportedKey } from './metadata.js';

export const qwen3moe: GgufArchitecture = {
  name: 'qwen3moe',
  names: {},
  fields(metadata) {
    const own = (name: string): string => metadata.own(name);
    requireScoring(metadata, 'softmax');
    requireNoScale(metadata);
    return {
      model_type: 'qwen3_moe',
      ...attentionFields(metadata),
      intermediate_size: metadata.same(own('feed_forward_length'), blocksOf(metadata)),
      moe_intermediate_size: metadata.whole(own('expert_feed_forward_length')),
      num_experts: metadata.whole(own('expert_count')),
      num_experts_per_tok: metadata.whole(own('expert_used_count')),
      norm_topk_prob: true,
    };
  },
};

const HYBRID_NAMES = {
  post_attention_layernorm: 'post_attention_norm',
  ...{ 'linear_attn.in_proj_qkv': 'attn_qkv', 'linear_attn.in_proj_z': 'attn_gate' },
  ...{ 'linear_attn.conv1d': 'ssm_conv1d', 'linear_attn.dt_bias': 'ssm_dt.bias' },
  // Not the logarithm of the decay's rate but the rate itself, negative.
  ...{ 'linear_attn.A_log': 'ssm_a', 'linear_attn.norm': 'ssm_norm' },
  'linear_attn.out_proj': 'ssm_out',
  ...{ 'mlp.shared_expert.gate_proj': 'ffn_gate_shexp', 'mlp.shared_expert.up_proj': 'ffn_up_shexp' },
  'mlp.shared_expert.down_proj': 'ffn_down_shexp',
  'mlp.shared_expert_gate': 'ffn_gate_inp_shexp',
};

/** The norms' weights have their 1 added already, as in MLX conversions. */
export const qwen3next: GgufArchitecture = {
  name: 'qwen3next',
  names: { ...HYBRID_NAMES, 'linear_attn.in_proj_ba': 'ssm_ba' },
  fields: (metadata) => ({ model_type: 'qwen3_next', ...hybridFields(metadata) }),
  adapt: (spec) => withDeltaNets(spec, apart),
};

export const qwen35moe: GgufArchitecture = {
  name: 'qwen35moe',
  names: {
    ...HYBRID_NAMES,
    ...{ 'linear_attn.in_proj_b': 'ssm_beta', 'linear_attn.in_proj_a': 'ssm_alpha' },
  },
  fields: (metadata) => ({ model_type: 'qwen3_5_moe', ...hybridFields(metadata) }),
  adapt: (spec) => withDeltaNets(spec, tiled),
};

function hybridFields(metadata: GgufMetadata): Record<string, unknown> {
  const own = (name: string): string => metadata.own(name);
  requireScoring(metadata, 'softmax');
  requireNoScale(metadata);
  const valueHeads = metadata.whole(own('ssm.time_step_rank'));
  const inner = metadata.whole(own('ssm.inner_size'));
  if (inner % valueHeads !== 0) {
    throw unsupportedKey(own('ssm.inner_size'), inner, `a multiple of ${valueHeads}`);
  }
  return {
    ...attentionFields(metadata),
    full_attention_interval: metadata.whole(own('full_attention_interval'), 4),
    linear_num_key_heads: metadata.whole(own('ssm.group_count')),
    linear_num_value_heads: valueHeads,
    linear_key_head_dim: metadata.whole(own('ssm.state_size')),
    linear_value_head_dim: inner / valueHeads,
    linear_conv_kernel_dim: metadata.whole(own('ssm.conv_kernel')),
    moe_intermediate_size: metadata.whole(own('expert_feed_forward_length')),
    shared_expert_intermediate_size: metadata.whole(own('expert_shared_feed_forward_length')),
    num_experts: metadata.whole(own('expert_count')),
    num_experts_per_tok: metadata.whole(own('expert_used_count')),
  };
}

function withDeltaNets(
  spec: ModelSpec,
  change: (net: GatedDeltaNetSpec) => GatedDeltaNetSpec,
): ModelSpec {
  const layers = spec.layers.map((layer) =>
    layer.mixer.kind === 'gated_delta_net' ? { ...layer, mixer: change(layer.mixer) } : layer,
  );
  return { ...spec, layers };
}

/** in_proj_qkvz comes taken apart, in_proj_ba as it is. */
function apart(net: GatedDeltaNetSpec): GatedDeltaNetSpec {
  const { qkvz = '', ba = '', ...others } = net.tensors;
  const prefix = qkvz.replace(/in_proj_qkvz$/, '');
  const tensors = {
    ...{ qkv: `${prefix}in_proj_qkv`, z: `${prefix}in_proj_z` },
    ...{ a: `${prefix}in_proj_a`, b: `${prefix}in_proj_b` },
    ...others,
  };
  return ba === '' ? net : { ...net, tensors };
}

/** Value heads in turn of all key heads, where there are more of them. */
function tiled(net: GatedDeltaNetSpec): GatedDeltaNetSpec {
  return net.keyHeads === net.valueHeads ? net : { ...net, tiledHeads: true };
}
