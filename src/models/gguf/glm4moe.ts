import {
  attentionFields,
  type GgufArchitecture,
  requireScoring,
  SHARED_NAMES,
  sigmoidFields,
} from './architecture.js';

export const glm4moe: GgufArchitecture = {
  name: 'glm4moe',
  names: { post_attention_layernorm: 'post_attention_norm', ...SHARED_NAMES },
  fields(metadata, _, has) {
    requireScoring(metadata, 'sigmoid');
    return {
      model_type: 'glm4_moe',
      ...attentionFields(metadata),
      attention_bias: has('blk.0.attn_q.bias'),
      use_qk_norm: has('blk.0.attn_q_norm.weight'),
      ...sigmoidFields(metadata),
      norm_topk_prob: metadata.flag(metadata.own('expert_weights_norm'), true),
    };
  },
};
