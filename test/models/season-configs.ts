// config.json of the catalogue's other models, without image encoders and unused fields, and what their repositories weigh as others
// report it: shapes come from the former, and must add up to the latter.

import { DEEPSEEK_V3, KIMI_K2, QWEN35_35B, QWEN35_397B, QWEN3_235B } from './real-configs.js';

export interface SeasonModel {
  id: string;
  config: Record<string, unknown>;
  /** Of a linear, in the repository; 0: plain. */
  bits: (module: string) => number;
  groupSize?: number;
  isMxfp4?: (module: string) => boolean;
  prefix?: string;
  tableRows?: number;
  isSplit?: boolean;
  /** What others report of the repository, and how exactly. */
  reportedGb: number;
  within: number;
}

const routersPlain = (module: string): number => (/\.gate$/.test(module) ? 0 : 4);
const routersEight = (module: string): number =>
  /\.(gate|shared_expert_gate)$/.test(module) ? 8 : 4;

const qwen35: Record<string, unknown> = QWEN35_397B.text_config;
const GLM = {
  ...{ hidden_act: 'silu', rms_norm_eps: 1e-5, norm_topk_prob: true, routed_scaling_factor: 2.5 },
  ...{ n_shared_experts: 1, n_group: 1, topk_group: 1, first_k_dense_replace: 3 },
  ...{ num_experts_per_tok: 8, tie_word_embeddings: false, intermediate_size: 12288 },
  max_position_embeddings: 202752,
};

export const SEASON_MODELS: SeasonModel[] = [
  {
    id: 'qwen3.5-122b',
    config: {
      ...QWEN35_397B,
      text_config: {
        ...{ ...qwen35, hidden_size: 3072, num_hidden_layers: 48, num_experts: 256 },
        ...{ num_experts_per_tok: 8, moe_intermediate_size: 1024 },
      },
    },
    ...{ bits: routersEight, prefix: 'language_model.', reportedGb: 69, within: 0.06 },
  },
  {
    id: 'qwen3.6-35b',
    ...{ config: QWEN35_35B, bits: routersEight, prefix: 'language_model.' },
    ...{ reportedGb: 20, within: 0.05 },
  },
  {
    id: 'qwen3-coder-480b',
    config: {
      ...{ ...QWEN3_235B, hidden_size: 6144, num_hidden_layers: 62, num_attention_heads: 96 },
      ...{ num_key_value_heads: 8, intermediate_size: 8192, moe_intermediate_size: 2560 },
      ...{ num_experts: 160, rope_theta: 10000000 },
    },
    ...{ bits: routersEight, reportedGb: 270, within: 0.02 },
  },
  {
    id: 'qwen3-next-80b',
    config: {
      ...{ ...qwen35, model_type: 'qwen3_next', hidden_size: 2048, num_hidden_layers: 48 },
      ...{ num_attention_heads: 16, linear_num_value_heads: 32, num_experts: 512 },
      ...{ num_experts_per_tok: 10, moe_intermediate_size: 512, vocab_size: 151936 },
      ...{ shared_expert_intermediate_size: 512, decoder_sparse_step: 1, norm_topk_prob: true },
      quantization: { group_size: 64, bits: 4 },
    },
    ...{ bits: routersEight, reportedGb: 44.8, within: 0.01 },
  },
  {
    id: 'deepseek-r1',
    ...{ config: DEEPSEEK_V3, bits: routersPlain, reportedGb: 378, within: 0.01 },
  },
  {
    id: 'deepseek-v3.1',
    ...{ config: DEEPSEEK_V3, bits: routersPlain, reportedGb: 378, within: 0.01 },
  },
  {
    id: 'deepseek-v3.2',
    config: {
      ...{ ...DEEPSEEK_V3, model_type: 'deepseek_v32' },
      ...{ index_n_heads: 64, index_head_dim: 128, index_topk: 2048 },
    },
    ...{ bits: routersPlain, reportedGb: 378, within: 0.01 },
  },
  {
    id: 'kimi-k2-thinking',
    config: {
      ...{ ...KIMI_K2, max_position_embeddings: 262144 },
      rope_scaling: { ...KIMI_K2.rope_scaling, factor: 64 },
      quantization: { group_size: 32, bits: 4 },
    },
    // The vendor's own four bits are the routed experts'; all else is plain.
    bits: (module) => (module.includes('switch_mlp') ? 4 : 0),
    ...{ groupSize: 32, reportedGb: 658, within: 0.01 },
  },
  {
    id: 'glm-4.6',
    config: {
      ...{ ...GLM, model_type: 'glm4_moe', hidden_size: 5120, num_hidden_layers: 92 },
      ...{ num_attention_heads: 96, num_key_value_heads: 8, head_dim: 128, vocab_size: 151552 },
      ...{ n_routed_experts: 160, moe_intermediate_size: 1536, attention_bias: true },
      ...{ use_qk_norm: true, partial_rotary_factor: 0.5, rope_theta: 1000000 },
      quantization: { group_size: 64, bits: 4 },
    },
    ...{ bits: routersPlain, reportedGb: 199, within: 0.01 },
  },
  {
    id: 'glm-5',
    config: {
      ...{ ...GLM, model_type: 'glm_moe_dsa', hidden_size: 6144, num_hidden_layers: 78 },
      ...{ num_attention_heads: 64, num_key_value_heads: 64, vocab_size: 154880 },
      ...{ q_lora_rank: 2048, kv_lora_rank: 512, qk_nope_head_dim: 192, qk_rope_head_dim: 64 },
      ...{ v_head_dim: 256, n_routed_experts: 256, moe_intermediate_size: 2048 },
      ...{ index_n_heads: 32, index_head_dim: 128, index_topk: 2048 },
      rope_parameters: { rope_theta: 1000000, rope_type: 'default' },
      quantization: { group_size: 64, bits: 4 },
    },
    ...{ bits: routersPlain, isSplit: true, reportedGb: 419, within: 0.01 },
  },
  {
    id: 'minimax-m2',
    config: {
      ...{ model_type: 'minimax_m2', hidden_act: 'silu', hidden_size: 3072, num_hidden_layers: 62 },
      ...{ num_attention_heads: 48, num_key_value_heads: 8, head_dim: 128, rotary_dim: 64 },
      ...{ intermediate_size: 1536, num_local_experts: 256, num_experts_per_tok: 8 },
      ...{ vocab_size: 200064, max_position_embeddings: 196608, rms_norm_eps: 1e-6 },
      ...{ rope_theta: 5000000, scoring_func: 'sigmoid', use_qk_norm: true, tie_word_embeddings: false },
      quantization: { group_size: 64, bits: 4 },
    },
    ...{ bits: routersEight, reportedGb: 128.7, within: 0.01 },
  },
  {
    id: 'gpt-oss-120b',
    config: {
      ...{ model_type: 'gpt_oss', hidden_act: 'silu', hidden_size: 2880, num_hidden_layers: 36 },
      ...{ num_attention_heads: 64, num_key_value_heads: 8, head_dim: 64, intermediate_size: 2880 },
      ...{ num_local_experts: 128, num_experts_per_tok: 4, sliding_window: 128 },
      ...{ vocab_size: 201088, max_position_embeddings: 131072, rms_norm_eps: 1e-5 },
      ...{ rope_theta: 150000, swiglu_limit: 7, attention_bias: true, tie_word_embeddings: false },
      rope_scaling: {
        ...{ rope_type: 'yarn', factor: 32, original_max_position_embeddings: 4096 },
        ...{ beta_fast: 32, beta_slow: 1, truncate: false },
      },
      quantization: { group_size: 64, bits: 8 },
    },
    bits: (module) => (module.includes('switch_mlp') ? 4 : 8),
    ...{ isMxfp4: (module) => module.includes('switch_mlp'), reportedGb: 63.4, within: 0.01 },
  },
  {
    id: 'qwen3.8-flash-next',
    config: {
      model_type: 'qwen4_exp',
      tie_word_embeddings: false,
      quantization: { group_size: 32, bits: 4 },
      text_config: {
        ...{ ...qwen35, hidden_size: 2560, num_hidden_layers: 48, num_attention_heads: 24 },
        ...{ linear_num_value_heads: 48, num_experts: 512, num_experts_per_tok: 10 },
        ...{ moe_intermediate_size: 640, shared_expert_intermediate_size: 640 },
        ...{ hc_count: 4, hc_lowrank: 320, heads_per_ngram: 8, ngram_size: 3, ple_embed_dim: 2560 },
        ...{ ple_conv_kernel_size: 4, ple_layer_ids: [2], split_ngram_parts: 128 },
        ...{ indexer_budget: 2048, indexer_compress_ratio: 4, indexer_head_dim: 128 },
        ...{ indexer_n_heads: 4, indexer_kv_heads: 1, output_gate_type: 'sigmoid' },
      },
    },
    bits: (module) =>
      /\.(gate|shared_expert_gate|in_proj_[ab]|index_qk_proj|block_inject_weight)$/.test(module) ? 0 : 4,
    ...{ groupSize: 32, prefix: 'language_model.', tableRows: 2_500_012 },
    ...{ reportedGb: 111.5, within: 0.02 },
  },
];
