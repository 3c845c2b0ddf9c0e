import {
  attentionFields,
  type GgufArchitecture,
  requireNoScale,
  requireScoring,
} from './architecture.js';

export const minimax: GgufArchitecture = {
  name: 'minimax-m2',
  names: {
    'block_sparse_moe.gate': 'ffn_gate_inp',
    'block_sparse_moe.e_score_correction_bias': 'exp_probs_b.bias',
  },
  fields(metadata, _, has) {
    const own = (name: string): string => metadata.own(name);
    requireScoring(metadata, 'sigmoid');
    requireNoScale(metadata);
    const wide = metadata.has(own('expert_feed_forward_length')) ? 'expert_' : '';
    return {
      model_type: 'minimax_m2',
      ...attentionFields(metadata),
      use_qk_norm: has('blk.0.attn_q_norm.weight'),
      num_local_experts: metadata.whole(own('expert_count')),
      num_experts_per_tok: metadata.whole(own('expert_used_count')),
      intermediate_size: metadata.whole(own(`${wide}feed_forward_length`)),
      use_routing_bias: has('blk.0.exp_probs_b.bias'),
    };
  },
};
