// qwen3_5_moe's blocks over several residual streams, attention to blocks of keys, and n-gram rows added to chosen layers.

import { type Config, unsupported } from '../config.js';
import { type Family, layerPrefix, MAX_HEAD_DIM, MAX_HEADS } from '../family.js';
import type {
  BlockIndexerSpec,
  HyperConnectionSpec,
  LayerSpec,
  ModelSpec,
  NgramSpec,
} from '../spec.js';
import { deltaNet, gatedHybrid } from './qwen3_5_moe.js';

const MAX_STREAMS = 16;
const MAX_PARTS = 2 ** 12;

export const qwen4_exp: Family = {
  modelType: 'qwen4_exp',
  readSpec: (root) => readSpec(root.object('text_config') ?? root, root),
};

/** The same without its wrapper. */
export const qwen4_exp_text: Family = { ...qwen4_exp, modelType: 'qwen4_exp_text' };

function readSpec(config: Config, root: Config): ModelSpec {
  config.only('output_gate_type', 'sigmoid', 'silu', 'swish');
  config.only('indexer_kv_heads', 1);
  const sigmoidGate = config.string('output_gate_type', 'sigmoid') === 'sigmoid';
  const count = config.int('hc_count', { min: 2, max: MAX_STREAMS });
  const rank = config.int('hc_lowrank');
  const plain = gatedHybrid(config, root, (fields, layer) => ({
    ...deltaNet(fields, layer),
    sigmoidGate,
  }));
  const withRows = new Set(config.ints('ple_layer_ids').map((id) => id - 1));
  for (const layer of withRows) {
    if (layer >= 0 && layer < plain.layers.length) continue;
    throw unsupported(config.name('ple_layer_ids'), layer + 1, 'the layers, counted from 1');
  }
  const others: ModelSpec = { ...plain };
  // Several streams have connections instead.
  delete others.finalNorm;
  return {
    ...others,
    streams: { count, mixer: connection('model.hyper_connection_mixer', rank, false) },
    layers: plain.layers.map(({ mixer, mlp }, layer): LayerSpec => {
      const prefix = layerPrefix(layer);
      return {
        mixer:
          mixer.kind === 'gqa' ? { ...mixer, blocks: indexer(config, layer, mixer.rope.dims) } : mixer,
        mlp,
        connections: {
          mixer: connection(`${prefix}.attn_hyper_connection`, rank, true),
          mlp: connection(`${prefix}.mlp_hyper_connection`, rank, true),
        },
        ...(withRows.has(layer) && { ngram: ngram(config, root, layer) }),
      };
    }),
  };
}

function connection(prefix: string, rank: number, injects: boolean): HyperConnectionSpec {
  return {
    rank,
    tensors: {
      norm: `${prefix}.hc_norm`,
      down: `${prefix}.input_mix_weight_down`,
      up: `${prefix}.input_mix_weight_up`,
      ...(injects && { inject: `${prefix}.block_inject_weight` }),
    },
  };
}

function indexer(config: Config, layer: number, ropeDims: number): BlockIndexerSpec {
  const prefix = `${layerPrefix(layer)}.self_attn.indexer`;
  const ratio = config.int('indexer_compress_ratio', { max: 2 ** 10 });
  return {
    heads: config.int('indexer_n_heads', { max: MAX_HEADS }),
    dim: config.int('indexer_head_dim', { min: ropeDims, max: MAX_HEAD_DIM }),
    budget: config.int('indexer_budget', { min: ratio, max: 2 ** 16 }),
    ratio,
    tensors: {
      qk: `${prefix}.index_qk_proj`,
      qNorm: `${prefix}.q_layernorm`,
      kNorm: `${prefix}.k_layernorm`,
    },
  };
}

function ngram(config: Config, root: Config, layer: number): NgramSpec {
  const prefix = `${layerPrefix(layer)}.ple`;
  const order = config.int('ngram_size', { min: 2, max: 8 });
  const headsPerOrder = config.int('heads_per_ngram', { max: 64 });
  const width = config.int('ple_embed_dim');
  const heads = (order - 1) * headsPerOrder;
  if (width % heads !== 0) {
    throw unsupported(config.name('ple_embed_dim'), width, `a multiple of the ${heads} heads`);
  }
  return {
    order,
    headsPerOrder,
    width,
    convKernel: config.int('ple_conv_kernel_size', { min: 2, max: 16 }),
    stopId: stopId(config.has('eos_token_id') ? config : root),
    parts: config.int('split_ngram_parts', { max: MAX_PARTS, fallback: 1 }),
    tensors: {
      table: `${prefix}.ple_embedding.ngram_embedding.shard`,
      multipliers: `${prefix}.ple_embedding.layer_multipliers`,
      sizes: `${prefix}.ple_embedding.ngram_heads_vocab_sizes`,
      offsets: `${prefix}.ple_embedding.ngram_heads_offsets`,
      key: `${prefix}.key_proj`,
      value: `${prefix}.value_proj`,
      keyNorm: `${prefix}.norm_key`,
      queryNorm: `${prefix}.norm_query`,
      convNorm: `${prefix}.norm_conv`,
      conv: `${prefix}.conv1d`,
    },
  };
}

/** The first of them, where it is a list. */
function stopId(config: Config): number {
  const value = config.raw('eos_token_id');
  if (!Array.isArray(value)) return config.int('eos_token_id', { min: 0, max: 2 ** 24 });
  const [first] = config.ints('eos_token_id');
  if (first !== undefined && first >= 0 && first <= 2 ** 24) return first;
  throw unsupported(config.name('eos_token_id'), value, 'a token id');
}
