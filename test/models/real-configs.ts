// config.json of the catalogue's models, without vision and unused fields, and what their packed files weigh.

const qwen35 = {
  full_attention_interval: 4,
  num_key_value_heads: 2,
  head_dim: 256,
  attn_output_gate: true,
  attention_bias: false,
  hidden_act: 'silu',
  rms_norm_eps: 1e-6,
  linear_conv_kernel_dim: 4,
  linear_num_key_heads: 16,
  linear_key_head_dim: 128,
  linear_value_head_dim: 128,
  mamba_ssm_dtype: 'float32',
  mlp_only_layers: [],
  max_position_embeddings: 262144,
  vocab_size: 248320,
  eos_token_id: 248044,
  mtp_num_hidden_layers: 1,
  rope_parameters: {
    mrope_interleaved: true,
    mrope_section: [11, 11, 10],
    rope_type: 'default',
    rope_theta: 10000000,
    partial_rotary_factor: 0.25,
  },
  model_type: 'qwen3_5_moe_text',
  dtype: 'bfloat16',
};

const deepseek = {
  hidden_size: 7168,
  num_hidden_layers: 61,
  moe_layer_freq: 1,
  q_lora_rank: 1536,
  kv_lora_rank: 512,
  qk_nope_head_dim: 128,
  qk_rope_head_dim: 64,
  v_head_dim: 128,
  attention_bias: false,
  hidden_act: 'silu',
  intermediate_size: 18432,
  moe_intermediate_size: 2048,
  n_shared_experts: 1,
  num_experts_per_tok: 8,
  topk_method: 'noaux_tc',
  scoring_func: 'sigmoid',
  norm_topk_prob: true,
  rms_norm_eps: 1e-6,
  tie_word_embeddings: false,
};

const quantization = { group_size: 64, bits: 4 };

export const QWEN35_397B = {
  model_type: 'qwen3_5_moe',
  tie_word_embeddings: false,
  quantization,
  text_config: {
    ...qwen35,
    hidden_size: 4096,
    num_hidden_layers: 60,
    num_attention_heads: 32,
    linear_num_value_heads: 64,
    num_experts: 512,
    num_experts_per_tok: 10,
    moe_intermediate_size: 1024,
    shared_expert_intermediate_size: 1024,
  },
};

export const QWEN35_35B = {
  model_type: 'qwen3_5_moe',
  tie_word_embeddings: false,
  quantization,
  text_config: {
    ...qwen35,
    hidden_size: 2048,
    num_hidden_layers: 40,
    num_attention_heads: 16,
    linear_num_value_heads: 32,
    num_experts: 256,
    num_experts_per_tok: 8,
    moe_intermediate_size: 512,
    shared_expert_intermediate_size: 512,
  },
};

export const QWEN3_235B = {
  model_type: 'qwen3_moe',
  hidden_size: 4096,
  num_hidden_layers: 94,
  num_attention_heads: 64,
  num_key_value_heads: 4,
  head_dim: 128,
  attention_bias: false,
  hidden_act: 'silu',
  intermediate_size: 12288,
  moe_intermediate_size: 1536,
  num_experts: 128,
  num_experts_per_tok: 8,
  norm_topk_prob: true,
  decoder_sparse_step: 1,
  mlp_only_layers: [],
  max_position_embeddings: 262144,
  rms_norm_eps: 1e-6,
  rope_theta: 5000000,
  rope_scaling: null,
  sliding_window: null,
  use_sliding_window: false,
  tie_word_embeddings: false,
  bos_token_id: 151643,
  eos_token_id: 151645,
  vocab_size: 151936,
  torch_dtype: 'bfloat16',
  quantization,
};

export const DEEPSEEK_V3 = {
  ...deepseek,
  model_type: 'deepseek_v3',
  first_k_dense_replace: 3,
  num_attention_heads: 128,
  num_key_value_heads: 128,
  n_routed_experts: 256,
  n_group: 8,
  topk_group: 4,
  routed_scaling_factor: 2.5,
  max_position_embeddings: 163840,
  rope_theta: 10000,
  rope_scaling: {
    type: 'yarn',
    factor: 40,
    original_max_position_embeddings: 4096,
    beta_fast: 32,
    beta_slow: 1,
    mscale: 1.0,
    mscale_all_dim: 1.0,
  },
  num_nextn_predict_layers: 1,
  bos_token_id: 0,
  eos_token_id: 1,
  vocab_size: 129280,
  quantization,
};

export const KIMI_K2 = {
  ...deepseek,
  model_type: 'kimi_k2',
  first_k_dense_replace: 1,
  num_attention_heads: 64,
  num_key_value_heads: 64,
  n_routed_experts: 384,
  n_group: 1,
  topk_group: 1,
  routed_scaling_factor: 2.827,
  max_position_embeddings: 131072,
  rope_theta: 50000.0,
  rope_scaling: {
    type: 'yarn',
    factor: 32.0,
    original_max_position_embeddings: 4096,
    beta_fast: 1.0,
    beta_slow: 1.0,
    mscale: 1.0,
    mscale_all_dim: 1.0,
  },
  num_nextn_predict_layers: 0,
  bos_token_id: 163584,
  eos_token_id: 163585,
  vocab_size: 163840,
  quantization,
};

export interface RealModel {
  id: string;
  config: Record<string, unknown>;
  /** Width of routers and shared-expert gates in the repository; 0 = not quantised. */
  gateBits: 0 | 4 | 8;
  expertBytes: number;
  layerBytes: number;
  routedBytes: number;
  denseBytes: number;
  twoBitExpertBytes: number;
  twoBitRoutedBytes: number;
  shards: number;
  denseTensors?: number;
}

export const REAL_MODELS: RealModel[] = [
  {
    id: 'qwen3.5-397b',
    config: QWEN35_397B,
    gateBits: 4,
    expertBytes: 7_077_888,
    layerBytes: 3_623_878_656,
    routedBytes: 217_432_719_360,
    denseBytes: 5_516_028_032,
    twoBitExpertBytes: 3_932_160,
    twoBitRoutedBytes: 120_795_955_200,
    shards: 46,
    denseTensors: 2092,
  },
  {
    id: 'qwen3.5-35b',
    config: QWEN35_35B,
    gateBits: 8,
    expertBytes: 1_769_472,
    layerBytes: 452_984_832,
    routedBytes: 18_119_393_280,
    denseBytes: 1_389_396_096,
    twoBitExpertBytes: 983_040,
    twoBitRoutedBytes: 10_066_329_600,
    shards: 4,
  },
  {
    id: 'qwen3-235b',
    config: QWEN3_235B,
    gateBits: 8,
    expertBytes: 10_616_832,
    layerBytes: 1_358_954_496,
    routedBytes: 127_741_722_624,
    denseBytes: 4_524_235_776,
    twoBitExpertBytes: 5_898_240,
    twoBitRoutedBytes: 70_967_623_680,
    shards: 26,
  },
  {
    id: 'deepseek-v3-0324',
    config: DEEPSEEK_V3,
    gateBits: 0,
    expertBytes: 24_772_608,
    layerBytes: 6_341_787_648,
    routedBytes: 367_823_683_584,
    denseBytes: 9_783_169_024,
    twoBitExpertBytes: 13_762_560,
    twoBitRoutedBytes: 204_346_490_880,
    shards: 88,
  },
  {
    id: 'kimi-k2',
    config: KIMI_K2,
    gateBits: 0,
    expertBytes: 24_772_608,
    layerBytes: 9_512_681_472,
    routedBytes: 570_760_888_320,
    denseBytes: 6_832_672_768,
    twoBitExpertBytes: 13_762_560,
    twoBitRoutedBytes: 317_089_382_400,
    shards: 180,
  },
];
