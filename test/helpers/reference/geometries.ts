// One more geometry of every family, apart from the fixtures': other head counts and ratios, group sizes, widths, layer patterns,
// odd numbers of experts, and the fields' other values.

import type { Geometry } from './checkpoint.js';

const common = {
  hidden_act: 'silu',
  rms_norm_eps: 1e-6,
  vocab_size: 96,
  max_position_embeddings: 512,
};
const qwen = {
  ...common,
  rope_theta: 10_000,
  moe_intermediate_size: 48,
  num_experts: 7,
  num_experts_per_tok: 3,
};
const gatedHybrid = {
  ...qwen,
  ...{ hidden_size: 96, num_hidden_layers: 5, num_attention_heads: 6, num_key_value_heads: 2 },
  ...{ head_dim: 48, num_experts: 9, num_experts_per_tok: 5, shared_expert_intermediate_size: 80 },
  ...{ linear_num_key_heads: 3, linear_num_value_heads: 9, linear_key_head_dim: 24 },
  ...{ linear_value_head_dim: 16, linear_conv_kernel_dim: 3, partial_rotary_factor: 0.5 },
};
const latent = {
  ...common,
  ...{ hidden_size: 160, num_hidden_layers: 4, num_attention_heads: 5, num_key_value_heads: 5 },
  ...{ kv_lora_rank: 96, qk_nope_head_dim: 32, qk_rope_head_dim: 16, v_head_dim: 64 },
  ...{
    intermediate_size: 96,
    moe_intermediate_size: 64,
    n_routed_experts: 12,
    n_shared_experts: 2,
  },
  ...{ num_experts_per_tok: 5, n_group: 3, topk_group: 2, norm_topk_prob: true },
  ...{ routed_scaling_factor: 1.7, first_k_dense_replace: 2, rope_theta: 20_000 },
};
const sparse = {
  ...latent,
  ...{ q_lora_rank: 64, num_hidden_layers: 4, first_k_dense_replace: 1 },
  ...{ index_n_heads: 5, index_head_dim: 32, index_topk: 7 },
};

/** By name; `model_type` may occur twice. */
export const GEOMETRIES: Readonly<Record<string, Geometry>> = {
  'qwen3_moe, tied, with biases and dense layers, 5 bits in groups of 16': {
    config: {
      ...{ model_type: 'qwen3_moe', ...qwen, hidden_size: 96, num_hidden_layers: 4 },
      ...{ num_attention_heads: 6, num_key_value_heads: 3, head_dim: 32, norm_topk_prob: false },
      ...{
        decoder_sparse_step: 2,
        intermediate_size: 160,
        moe_intermediate_size: 64,
        tie_word_embeddings: true,
      },
      ...{ attention_bias: true },
    },
    ...{ bits: () => 5, groupSize: 16 },
  },
  'qwen3_moe, no head_dim, YaRN': {
    config: {
      ...{ model_type: 'qwen3_moe', ...qwen, hidden_size: 128, num_hidden_layers: 2 },
      ...{ num_attention_heads: 4, num_key_value_heads: 1, norm_topk_prob: true },
      rope_scaling: { type: 'yarn', factor: 4, original_max_position_embeddings: 32 },
      ...{ moe_intermediate_size: 128, mlp_only_layers: [0], intermediate_size: 256 },
    },
    ...{ bits: (module) => (module.endsWith('gate') ? 8 : 3), groupSize: 128 },
  },
  'qwen3_5_moe, three value heads a key head, every fourth layer attends by default': {
    config: { model_type: 'qwen3_5_moe', text_config: gatedHybrid },
    ...{ bits: () => 6, groupSize: 16, prefix: 'language_model.' },
  },
  'qwen3_next, every third layer attends': {
    config: { model_type: 'qwen3_next', ...gatedHybrid, full_attention_interval: 3 },
    ...{ bits: () => 4, groupSize: 16 },
  },
  'deepseek_v3, one query projection, three groups, two shared experts': {
    config: {
      ...{ model_type: 'deepseek_v3', ...latent },
      rope_scaling: {
        ...{ type: 'yarn', factor: 8, original_max_position_embeddings: 16, mscale: 0.7 },
        mscale_all_dim: 1,
      },
    },
    ...{ bits: (module) => (module.endsWith('.gate') ? 0 : 4), groupSize: 32 },
  },
  'kimi_k2, projections in halves, no dense layer, no groups': {
    config: {
      ...{ model_type: 'kimi_k2', ...latent, q_lora_rank: 64, first_k_dense_replace: 0 },
      ...{ n_group: 1, topk_group: 1, n_routed_experts: 11, n_shared_experts: 1 },
    },
    ...{ bits: (module) => (module.endsWith('.gate') ? 0 : 2), groupSize: 32, isSplit: true },
  },
  'kimi_k25, widths mixed by module': {
    config: {
      model_type: 'kimi_k25',
      text_config: { ...latent, model_type: 'kimi_k2', q_lora_rank: 96, n_group: 1, topk_group: 1 },
    },
    bits: (module) =>
      module.endsWith('.gate') ? 0 : ([3, 4, 5, 6, 8][(module.length * 7) % 5] ?? 4),
    ...{ groupSize: 32, prefix: 'language_model.', isSplit: true },
  },
  'glm4_moe, no biases and no norms of heads': {
    config: {
      ...{ model_type: 'glm4_moe', ...latent, num_attention_heads: 5, num_key_value_heads: 1 },
      ...{ head_dim: 64, partial_rotary_factor: 0.25, attention_bias: false, use_qk_norm: false },
      ...{ n_group: 1, topk_group: 1, n_routed_experts: 13, norm_topk_prob: false },
    },
    ...{ bits: (module) => (module.endsWith('.gate') ? 0 : 4), groupSize: 32 },
  },
  'minimax_m2, as many key heads as query heads, a share of the head instead of dimensions': {
    config: {
      ...{ model_type: 'minimax_m2', ...common, hidden_size: 96, num_hidden_layers: 2 },
      ...{ num_attention_heads: 4, num_key_value_heads: 4, head_dim: 48, intermediate_size: 80 },
      ...{ num_local_experts: 5, num_experts_per_tok: 5, scoring_func: 'sigmoid' },
      rope_parameters: { rope_theta: 5000, partial_rotary_factor: 0.5, rope_type: 'default' },
    },
    ...{ bits: () => 8, groupSize: 16 },
  },
  'gpt_oss, layers by default, mxfp4 experts, a small clamp': {
    config: {
      ...{ model_type: 'gpt_oss', ...common, hidden_size: 96, num_hidden_layers: 3 },
      ...{ num_attention_heads: 8, num_key_value_heads: 2, head_dim: 24, intermediate_size: 160 },
      ...{ num_local_experts: 5, num_experts_per_tok: 2, sliding_window: 5, swiglu_limit: 0.7 },
      ...{ rope_theta: 9000, rms_norm_eps: 1e-5 },
      rope_scaling: {
        ...{ rope_type: 'yarn', factor: 4, original_max_position_embeddings: 16, truncate: false },
      },
    },
    bits: (module) => (module.includes('switch_mlp') ? 4 : 8),
    ...{ groupSize: 16, isMxfp4: (module) => module.includes('switch_mlp') },
  },
  'deepseek_v32, groups, seven keys': {
    config: { model_type: 'deepseek_v32', ...sparse },
    ...{ bits: (module) => (module.endsWith('.gate') ? 0 : 4), groupSize: 32 },
  },
  'glm_moe_dsa, layers that share the choice of keys': {
    config: {
      ...{ model_type: 'glm_moe_dsa', ...sparse, n_group: 1, topk_group: 1 },
      ...{ rope_theta: undefined, rope_parameters: { rope_theta: 7000, rope_type: 'default' } },
      ...{ num_hidden_layers: 6, index_topk_freq: 3, index_skip_topk_offset: 2 },
    },
    ...{ bits: (module) => (module.endsWith('.gate') ? 0 : 4), groupSize: 32, isSplit: true },
  },
  'qwen4_exp, three streams, rows in two layers, blocks of three': {
    config: {
      model_type: 'qwen4_exp',
      text_config: {
        ...{
          ...gatedHybrid,
          num_hidden_layers: 4,
          full_attention_interval: 2,
          eos_token_id: [90, 91],
        },
        ...{ hc_count: 3, hc_lowrank: 32, indexer_n_heads: 3, indexer_head_dim: 32 },
        ...{ indexer_budget: 7, indexer_compress_ratio: 3, ple_layer_ids: [1, 3] },
        ...{ ngram_size: 4, heads_per_ngram: 3, ple_embed_dim: 9 * 48, ple_conv_kernel_size: 3 },
        ...{ split_ngram_parts: 5, output_gate_type: 'sigmoid' },
      },
    },
    bits: (module) =>
      /\.(gate|shared_expert_gate|in_proj_[ab]|index_qk_proj|block_inject_weight)$/.test(module)
        ? 0
        : 4,
    ...{ groupSize: 16, prefix: 'language_model.' },
  },
};
