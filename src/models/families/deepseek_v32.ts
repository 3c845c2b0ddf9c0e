// Latent attention over the keys that a lightning indexer chooses.

import { type Config, unsupported } from '../config.js';
import { type Family, layerPrefix, MAX_HEAD_DIM, MAX_HEADS } from '../family.js';
import { type RopeParameters, ropeSpec } from '../rope.js';
import type { IndexerSpec, MlaSpec, RopeSpec } from '../spec.js';
import { latentModel } from './deepseek_v3.js';

// As transformers has it; no field of config.json says so.
const KEY_NORM_EPS = 1e-6;

export const deepseek_v32: Family = sparse('deepseek_v32', 'half');

/** The same blocks; what differs is in config.json, but for the pairs that the indexer rotates. */
export const glm_moe_dsa: Family = sparse('glm_moe_dsa', 'interleaved');

function sparse(modelType: string, pairing: RopeSpec['pairing']): Family {
  return {
    modelType,
    readSpec(config, has) {
      refuseShared(config);
      const isInterleaved = config.bool('indexer_rope_interleave', pairing === 'interleaved');
      const pairs = isInterleaved ? 'interleaved' : 'half';
      return latentModel(config, config, has, (mla, layer, rope) => {
        return { ...mla, indexer: indexer(config, layer, mla, rope, pairs) };
      });
    },
  };
}

/** Layers that take over another one's choice of keys have no indexer of their own. */
function refuseShared(config: Config): void {
  const types = config.strings('indexer_types');
  if (types?.some((type) => type !== 'full') === true) {
    throw unsupported('indexer_types', types, '"full" for every layer');
  }
  config.only('index_topk_freq', 1);
  if (config.has('index_topk_pattern') && types === null) {
    throw unsupported('index_topk_pattern', config.raw('index_topk_pattern'), 'absent');
  }
}

function indexer(
  config: Config,
  layer: number,
  { ropeDim, qLoraRank }: MlaSpec,
  rope: RopeParameters,
  pairing: RopeSpec['pairing'],
): IndexerSpec {
  if (qLoraRank === null) throw unsupported(config.name('q_lora_rank'), null, 'a number');
  const prefix = `${layerPrefix(layer)}.self_attn.indexer`;
  return {
    heads: config.int('index_n_heads', { max: MAX_HEADS }),
    dim: config.int('index_head_dim', { min: ropeDim, max: MAX_HEAD_DIM }),
    topK: config.int('index_topk', { max: 2 ** 16 }),
    normEps: KEY_NORM_EPS,
    rope: ropeSpec(rope, ropeDim, pairing),
    tensors: {
      q: `${prefix}.wq_b`,
      k: `${prefix}.wk`,
      kNorm: `${prefix}.k_norm`,
      weights: `${prefix}.weights_proj`,
    },
  };
}
