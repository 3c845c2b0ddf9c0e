// What a GGUF file's `general.architecture` stands for: the fields that the family's config.json would have, and the file's names
// for the family's tensors. Names are those of ggml-org/llama.cpp, gguf-py/gguf/tensor_mapping.py.

import type { ModelSpec } from '../spec.js';
import { type GgufMetadata, unsupportedKey } from './metadata.js';

/** Whether the file has a tensor of this name, as the file spells it. */
export type HasTensor = (name: string) => boolean;

export interface GgufArchitecture {
  /** `general.architecture`. */
  name: string;
  /** Fields of config.json beside those that `trunkFields` gives. Throws ERR_UNSUPPORTED_MODEL naming the key. */
  fields(metadata: GgufMetadata, layers: number, has: HasTensor): Record<string, unknown>;
  /** Name below `model.layers.N.`, of a module or of a whole tensor → name below `blk.N.`, where it isn't the usual one. */
  names: Readonly<Record<string, string>>;
  /** Below `blk.N.`: what is there a second time in another form, and not needed then. */
  spare?: readonly string[];
  /** Texts of tokens that end an answer and that the metadata has no key for. */
  stops?: readonly string[];
  /** What the converter has laid out otherwise than the family's checkpoints. */
  adapt?(spec: ModelSpec): ModelSpec;
}

/** Of all families; what stands here twice under one name can't be in the same layer. */
export const COMMON_NAMES: Readonly<Record<string, string>> = {
  input_layernorm: 'attn_norm',
  post_attention_layernorm: 'ffn_norm',
  ...{ 'self_attn.q_proj': 'attn_q', 'self_attn.k_proj': 'attn_k', 'self_attn.v_proj': 'attn_v' },
  ...{ 'self_attn.o_proj': 'attn_output', 'self_attn.qkv_proj': 'attn_qkv' },
  ...{ 'self_attn.q_norm': 'attn_q_norm', 'self_attn.k_norm': 'attn_k_norm' },
  ...{ 'mlp.gate_proj': 'ffn_gate', 'mlp.up_proj': 'ffn_up', 'mlp.down_proj': 'ffn_down' },
  'mlp.gate': 'ffn_gate_inp',
  'mlp.gate.e_score_correction_bias': 'exp_probs_b.bias',
};

const TRUNK_NAMES: Readonly<Record<string, string>> = {
  ...{ 'model.embed_tokens': 'token_embd', 'model.norm': 'output_norm', lm_head: 'output' },
};

const LAYER = /^model\.layers\.(\d+)\.(.+)$/;

/** Manifest name → the file's; null for what no file of this architecture has. */
export function ggufName(name: string, { names }: GgufArchitecture): string | null {
  const [, layer, below = name] = LAYER.exec(name) ?? [];
  const known = layer === undefined ? TRUNK_NAMES : { ...COMMON_NAMES, ...names };
  const dot = below.lastIndexOf('.');
  const module = known[below.slice(0, Math.max(dot, 0))];
  const found = known[below] ?? (module === undefined ? undefined : module + below.slice(dot));
  if (found === undefined) return null;
  return layer === undefined ? found : `blk.${layer}.${found}`;
}

/** Blocks of the decoder: some converters count those of multi-token prediction among them. */
export function decoderLayers(metadata: GgufMetadata, has: HasTensor): number {
  const blocks = metadata.whole(metadata.own('block_count'));
  const further = metadata.whole(metadata.own('nextn_predict_layers'), 0);
  const first = blocks - further;
  const isCounted = further > 0 && has(`blk.${first}.nextn.eh_proj.weight`);
  return isCounted ? first : blocks;
}

/** What all families have in common. */
export function trunkFields(
  metadata: GgufMetadata,
  layers: number,
  has: HasTensor,
): Record<string, unknown> {
  const own = (name: string): string => metadata.own(name);
  const tokens = metadata.raw('tokenizer.ggml.tokens');
  const count = typeof tokens === 'object' ? tokens.length : undefined;
  return {
    num_hidden_layers: layers,
    hidden_size: metadata.whole(own('embedding_length')),
    vocab_size: metadata.whole(own('vocab_size'), count),
    max_position_embeddings: metadata.whole(own('context_length')),
    rms_norm_eps: metadata.number(own('attention.layer_norm_rms_epsilon')),
    num_attention_heads: metadata.same(own('attention.head_count'), blocksOf(metadata)),
    tie_word_embeddings: !has('output.weight'),
    ...ropeFields(metadata),
  };
}

export function blocksOf(metadata: GgufMetadata): number {
  return metadata.whole(metadata.own('block_count'));
}

/** Grouped-query attention. */
export function attentionFields(metadata: GgufMetadata): Record<string, unknown> {
  const own = (name: string): string => metadata.own(name);
  const blocks = blocksOf(metadata);
  const heads = metadata.same(own('attention.head_count'), blocks);
  const dealt = metadata.whole(own('embedding_length')) / heads;
  const headDim = metadata.whole(own('attention.key_length'), dealt);
  const valueDim = metadata.whole(own('attention.value_length'), dealt);
  if (valueDim !== headDim) {
    throw unsupportedKey(own('attention.value_length'), valueDim, `key_length, ${headDim}`);
  }
  const keyHeads = metadata.raw(own('attention.head_count_kv'));
  return {
    head_dim: headDim,
    // Layers of another kind may have none.
    num_key_value_heads: typeof keyHeads === 'object' ? anyOf(metadata) : (keyHeads ?? heads),
    partial_rotary_factor: metadata.whole(own('rope.dimension_count'), headDim) / headDim,
  };
}

/** Key heads of those layers that have any; must be the same in all of them. */
function anyOf(metadata: GgufMetadata): number {
  const key = metadata.own('attention.head_count_kv');
  const counts = new Set(metadata.each(key, blocksOf(metadata)).filter((count) => count > 0));
  const [first] = counts;
  if (first !== undefined && counts.size === 1) return first;
  throw unsupportedKey(key, `[${[...counts].join(', ')}]`, 'one number for all layers');
}

const DEFAULT_THETA = 10_000;

function ropeFields(metadata: GgufMetadata): Record<string, unknown> {
  const rope_theta = metadata.number(metadata.own('rope.freq_base'), DEFAULT_THETA);
  const rope_scaling = yarnOf(metadata);
  return rope_scaling === null ? { rope_theta } : { rope_theta, rope_scaling };
}

/** null where positions are not scaled. */
export function yarnOf(metadata: GgufMetadata): Record<string, unknown> | null {
  const own = (name: string): string => metadata.own(`rope.scaling.${name}`);
  const type = metadata.text(own('type'), 'none');
  if (type === 'none') return null;
  if (type !== 'yarn') throw unsupportedKey(own('type'), type, '"none", "yarn"');
  // Each would change the rotation in a way that config.json has no field for.
  for (const name of ['yarn_ext_factor', 'yarn_attn_factor', 'attn_factor']) {
    const value = metadata.number(own(name), 1);
    if (value !== 1) throw unsupportedKey(own(name), value, '1');
  }
  return {
    rope_type: 'yarn',
    factor: metadata.number(own('factor')),
    original_max_position_embeddings: metadata.whole(own('original_context_length')),
    beta_fast: metadata.number(own('yarn_beta_fast'), 32),
    beta_slow: metadata.number(own('yarn_beta_slow'), 1),
  };
}

const SCORING = ['', 'softmax', 'sigmoid', 'softmax over the chosen'];

/** Throws ERR_UNSUPPORTED_MODEL where the file's experts are scored in a way that the family knows nothing of. */
export function requireScoring(metadata: GgufMetadata, ...known: string[]): void {
  const key = metadata.own('expert_gating_func');
  const number = metadata.whole(key, 0);
  const name = SCORING[number] ?? String(number);
  if (number !== 0 && !known.includes(name)) throw unsupportedKey(key, name, known.join(', '));
}

/** Factor on the weights of routed experts; older files have 0 for none. */
export function weightsScale(metadata: GgufMetadata): number {
  return metadata.number(metadata.own('expert_weights_scale'), 1) || 1;
}

/** Throws ERR_UNSUPPORTED_MODEL for a factor where the family has none. */
export function requireNoScale(metadata: GgufMetadata): void {
  const scale = weightsScale(metadata);
  if (scale !== 1) throw unsupportedKey(metadata.own('expert_weights_scale'), scale, '1');
}

/** Of the experts of DeepSeek's line and its heirs. */
export function sigmoidFields(metadata: GgufMetadata): Record<string, unknown> {
  const own = (name: string): string => metadata.own(name);
  return {
    intermediate_size: metadata.same(own('feed_forward_length'), blocksOf(metadata)),
    moe_intermediate_size: metadata.whole(own('expert_feed_forward_length')),
    n_routed_experts: metadata.whole(own('expert_count')),
    num_experts_per_tok: metadata.whole(own('expert_used_count')),
    n_shared_experts: metadata.whole(own('expert_shared_count'), 0),
    first_k_dense_replace: metadata.whole(own('leading_dense_block_count'), 0),
    n_group: metadata.whole(own('expert_group_count'), 1),
    topk_group: metadata.whole(own('expert_group_used_count'), 1),
    routed_scaling_factor: weightsScale(metadata),
  };
}

/** Their shared experts, where they are called as DeepSeek calls them. */
export const SHARED_NAMES: Readonly<Record<string, string>> = {
  'mlp.shared_experts.gate_proj': 'ffn_gate_shexp',
  'mlp.shared_experts.up_proj': 'ffn_up_shexp',
  'mlp.shared_experts.down_proj': 'ffn_down_shexp',
};
