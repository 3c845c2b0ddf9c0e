"""The dimensions of the tiny model: Qwen3.5-MoE in small, every quantised dimension a multiple of 64."""

from transformers import Qwen3_5MoeForCausalLM, Qwen3_5MoeTextConfig

LAYERS = 8
TEXT_CONFIG = {
    "model_type": "qwen3_5_moe_text",
    "dtype": "bfloat16",
    "hidden_size": 256,
    "num_hidden_layers": LAYERS,
    "full_attention_interval": 4,
    "layer_types": ["full_attention" if (i + 1) % 4 == 0 else "linear_attention" for i in range(LAYERS)],
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "attn_output_gate": True,
    "attention_bias": False,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-06,
    "linear_conv_kernel_dim": 4,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 64,
    "linear_value_head_dim": 64,
    "num_experts": 32,
    "num_experts_per_tok": 8,
    "moe_intermediate_size": 64,
    "shared_expert_intermediate_size": 128,
    "mlp_only_layers": [],
    "max_position_embeddings": 4096,
    "vocab_size": 2048,
    "bos_token_id": 2001,
    "eos_token_id": 2002,
    "tie_word_embeddings": False,
    "rope_parameters": {
        "mrope_interleaved": True,
        "mrope_section": [4, 2, 2],
        "rope_type": "default",
        "rope_theta": 10000,
        "partial_rotary_factor": 0.25,
    },
}
STOP_IDS = [2002, 2000]  # <|im_end|>, <|endoftext|>


def new_model(experts: str = "eager", attention: str = "sdpa", **changes) -> Qwen3_5MoeForCausalLM:
    """transformers' own text model with fresh weights, float32."""
    fields = {k: v for k, v in TEXT_CONFIG.items() if k not in ("model_type", "dtype", "mlp_only_layers", "attn_output_gate")}
    config = Qwen3_5MoeTextConfig(**{**fields, **changes}, initializer_range=0.03)
    config._attn_implementation = attention
    config._experts_implementation = experts
    return Qwen3_5MoeForCausalLM(config).float()
