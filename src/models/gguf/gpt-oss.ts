import {
  attentionFields,
  type GgufArchitecture,
  requireNoScale,
  requireScoring,
  yarnOf,
} from './architecture.js';

export const gptOss: GgufArchitecture = {
  name: 'gpt-oss',
  names: {
    post_attention_layernorm: 'post_attention_norm',
    'mlp.router': 'ffn_gate_inp',
    'self_attn.sinks': 'attn_sinks.weight',
  },
  stops: ['<|return|>', '<|call|>', '<|endoftext|>'],
  fields(metadata) {
    const own = (name: string): string => metadata.own(name);
    requireScoring(metadata, 'softmax', 'softmax over the chosen');
    requireNoScale(metadata);
    const yarn = yarnOf(metadata);
    return {
      model_type: 'gpt_oss',
      ...attentionFields(metadata),
      num_local_experts: metadata.whole(own('expert_count')),
      num_experts_per_tok: metadata.whole(own('expert_used_count')),
      intermediate_size: metadata.whole(own('expert_feed_forward_length')),
      sliding_window: metadata.whole(own('attention.sliding_window')),
      // As the authors' config.json has it; the file does not say it.
      ...(yarn !== null && { rope_scaling: { ...yarn, truncate: false } }),
    };
  },
};
