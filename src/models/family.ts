// What a family is: a reader from config.json to a ModelSpec. Differences between families live in their
// files; what they share (names of the trunk, of attention and of gated MLPs) is here.

import { type Config, unsupported } from './config.js';
import type { OriginalFacts } from './original-layout.js';
import type { DenseMlpSpec, GqaSpec, LayerSpec, ModelSpec, RopeSpec } from './spec.js';

export interface Family {
  /** `model_type` in config.json. */
  modelType: string;
  /**
   * `has` answers for manifest names of the checkpoint: some conversions store the same weights in two ways.
   * Throws ERR_UNSUPPORTED_MODEL naming the field.
   */
  readSpec(config: Config, has: (name: string) => boolean): ModelSpec;
  /** Absent: nothing that the shapes don't say. */
  original?: OriginalFacts;
}

/** Layers of any real model; keeps a hostile config from making us allocate. */
const MAX_LAYERS = 1024;
export const MAX_EXPERTS = 2 ** 14;
export const MAX_HEADS = 2 ** 12;
/** Of a head; also bounds the rotary frequencies, which every layer repeats. */
export const MAX_HEAD_DIM = 2 ** 10;

export function layerCount(config: Config): number {
  return config.int('num_hidden_layers', { max: MAX_LAYERS });
}

/** Fields and names that all families have in common. */
export function trunk(config: Config, root: Config, layers: LayerSpec[]): ModelSpec {
  config.only('hidden_act', 'silu');
  const tied = config.bool('tie_word_embeddings', root.bool('tie_word_embeddings', false));
  return {
    schema: 1,
    modelType: root.string('model_type'),
    hiddenSize: config.int('hidden_size'),
    vocabSize: config.int('vocab_size', { max: 2 ** 24 }),
    normEps: config.number('rms_norm_eps'),
    maxPositions: config.int('max_position_embeddings', { max: 2 ** 26 }),
    embed: 'model.embed_tokens',
    finalNorm: 'model.norm',
    lmHead: tied ? 'model.embed_tokens' : 'lm_head',
    layers,
  };
}

export function layerPrefix(layer: number): string {
  return `model.layers.${layer}`;
}

export function layerNorms(layer: number): { inputNorm: string; postNorm: string } {
  const prefix = layerPrefix(layer);
  return {
    inputNorm: `${prefix}.input_layernorm`,
    postNorm: `${prefix}.post_attention_layernorm`,
  };
}

/** How an attention under the usual names differs from one with a norm of each head and nothing else. */
export interface Attention {
  outputGate?: boolean;
  qkNorm?: boolean;
  normAllHeads?: boolean;
  qkvBias?: boolean;
  oBias?: boolean;
}

/** Dimensions of an attention head; without the field, the hidden size dealt to the heads. */
export function headDimOf(config: Config): number {
  if (config.has('head_dim')) return config.int('head_dim', { max: MAX_HEAD_DIM });
  const [hidden, heads] = [config.int('hidden_size'), config.int('num_attention_heads')];
  requireDivisor(config, 'num_attention_heads', heads, hidden);
  return hidden / heads;
}

/** Grouped-query attention. */
export function gqa(
  config: Config,
  layer: number,
  rope: RopeSpec,
  attention: Attention = {},
): GqaSpec {
  const { outputGate = false, qkNorm = true, ...others } = attention;
  if (others.qkvBias === undefined) config.only('attention_bias', false);
  const prefix = `${layerPrefix(layer)}.self_attn`;
  const headDim = headDimOf(config);
  const heads = config.int('num_attention_heads', { max: MAX_HEADS });
  const kvHeads = config.int('num_key_value_heads', { max: MAX_HEADS, fallback: heads });
  requireDivisor(config, 'num_key_value_heads', kvHeads, heads);
  return {
    kind: 'gqa',
    heads,
    kvHeads,
    headDim,
    scale: headDim ** -0.5,
    outputGate,
    qkNorm,
    ...others,
    rope,
    tensors: {
      q: `${prefix}.q_proj`,
      k: `${prefix}.k_proj`,
      v: `${prefix}.v_proj`,
      o: `${prefix}.o_proj`,
      ...(qkNorm && { qNorm: `${prefix}.q_norm`, kNorm: `${prefix}.k_norm` }),
    },
  };
}

/** Each group of query or value heads shares one key head. */
export function requireDivisor(config: Config, field: string, value: number, of: number): void {
  if (of % value !== 0) throw unsupported(config.name(field), value, `a divisor of ${of}`);
}

export function gatedMlpTensors(prefix: string): { gate: string; up: string; down: string } {
  return {
    gate: `${prefix}.gate_proj`,
    up: `${prefix}.up_proj`,
    down: `${prefix}.down_proj`,
  };
}

export function denseMlp(config: Config, layer: number): DenseMlpSpec {
  return {
    kind: 'dense_mlp',
    intermediateSize: config.int('intermediate_size'),
    tensors: gatedMlpTensors(`${layerPrefix(layer)}.mlp`),
  };
}
