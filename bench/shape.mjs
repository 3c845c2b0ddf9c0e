// The benchmark's model: the shape of a 30B-A3B Mixture-of-Experts model (the public configuration of
// Qwen3-30B-A3B) at reduced depth, with random weights. Speed does not depend on what weights say.

/** @param {{layers?: number, experts?: number}} [size] */
export function benchShape({ layers = 12, experts = 128 } = {}) {
  return {
    hidden: 2048,
    layers,
    heads: 32,
    kvHeads: 4,
    headDim: 128,
    experts,
    topK: 8,
    expertWidth: 768,
    vocab: 151936,
    context: 8192,
    ropeBase: 1e6,
    normEps: 1e-6,
  };
}

/** Linears of one layer that are not experts: [name in our layout, name in GGUF, rows, columns]. */
export function attentionLinears(shape) {
  const q = shape.heads * shape.headDim;
  const kv = shape.kvHeads * shape.headDim;
  return [
    ['self_attn.q_proj', 'attn_q', q, shape.hidden],
    ['self_attn.k_proj', 'attn_k', kv, shape.hidden],
    ['self_attn.v_proj', 'attn_v', kv, shape.hidden],
    ['self_attn.o_proj', 'attn_output', shape.hidden, q],
  ];
}

/** Expert linears: [our name, GGUF name, rows, columns] of one expert. */
export function expertLinears(shape) {
  return [
    ['mlp.switch_mlp.gate_proj', 'ffn_gate_exps', shape.expertWidth, shape.hidden],
    ['mlp.switch_mlp.up_proj', 'ffn_up_exps', shape.expertWidth, shape.hidden],
    ['mlp.switch_mlp.down_proj', 'ffn_down_exps', shape.hidden, shape.expertWidth],
  ];
}

/** Vectors of one layer, all ones: [our name, GGUF name, length]. */
export function layerNorms(shape) {
  return [
    ['input_layernorm', 'attn_norm', shape.hidden],
    ['post_attention_layernorm', 'ffn_norm', shape.hidden],
    ['self_attn.q_norm', 'attn_q_norm', shape.headDim],
    ['self_attn.k_norm', 'attn_k_norm', shape.headDim],
  ];
}
