// DeepSeek-V3, -R1, Kimi-K2 and what else has their latent attention: kv_b_proj comes taken apart, its first half transposed.

import { type GgufArchitecture, SHARED_NAMES, sigmoidFields, yarnOf } from './architecture.js';
import { type GgufMetadata, unsupportedKey } from './metadata.js';

/** Of files that are older than the keys: DeepSeek-V3's, the one model with so many experts. */
const GROUPED = { experts: 256, n_group: 8, topk_group: 4 };

export const deepseek2: GgufArchitecture = {
  name: 'deepseek2',
  names: {
    ...{ 'self_attn.q_a_proj': 'attn_q_a', 'self_attn.q_a_layernorm': 'attn_q_a_norm' },
    ...{ 'self_attn.q_b_proj': 'attn_q_b', 'self_attn.kv_a_proj_with_mqa': 'attn_kv_a_mqa' },
    ...{ 'self_attn.kv_a_layernorm': 'attn_kv_a_norm', 'self_attn.kv_b_proj': 'attn_kv_b' },
    ...{ 'self_attn.embed_q': 'attn_k_b', 'self_attn.unembed_out': 'attn_v_b' },
    ...SHARED_NAMES,
  },
  spare: ['attn_kv_b.weight'],
  fields(metadata) {
    const own = (name: string): string => metadata.own(name);
    requireSigmoid(metadata);
    const rotary = metadata.whole(own('rope.dimension_count'));
    // Older files have the heads' own lengths where newer ones have those of the latent.
    const mla = metadata.has(own('attention.key_length_mla')) ? '_mla' : '';
    const fields = sigmoidFields(metadata);
    const isOld = !metadata.has(own('expert_group_count'));
    const { experts, ...groups } = GROUPED;
    return {
      model_type: 'deepseek_v3',
      q_lora_rank: metadata.has(own('attention.q_lora_rank'))
        ? metadata.whole(own('attention.q_lora_rank'))
        : null,
      kv_lora_rank: metadata.whole(own('attention.kv_lora_rank')),
      qk_rope_head_dim: rotary,
      qk_nope_head_dim: metadata.whole(own(`attention.key_length${mla}`)) - rotary,
      v_head_dim: metadata.whole(own(`attention.value_length${mla}`)),
      ...fields,
      ...(isOld && fields.n_routed_experts === experts && groups),
      norm_topk_prob: metadata.flag(own('expert_weights_norm'), false),
      ...latentRope(metadata),
    };
  },
};

/** Without the key it is DeepSeek-V2, whose experts are scored otherwise. */
function requireSigmoid(metadata: GgufMetadata): void {
  const key = metadata.own('expert_gating_func');
  const number = metadata.whole(key, 1);
  if (number !== 2) throw unsupportedKey(key, metadata.raw(key), '2 (sigmoid)');
}

/** The multiplier has a tenth of mscale_all_dim in it; mscale is the same in all models that were published. */
function latentRope(metadata: GgufMetadata): Record<string, unknown> {
  const yarn = yarnOf(metadata);
  if (yarn === null) return {};
  const mscale = metadata.number(metadata.own('rope.scaling.yarn_log_multiplier'), 0) * 10;
  return { rope_scaling: { ...yarn, mscale, mscale_all_dim: mscale } };
}
