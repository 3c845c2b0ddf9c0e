// Latent attention over the keys that a lightning indexer chooses.

import { type Config, unsupported } from '../config.js';
import { type Family, layerCount, layerPrefix, MAX_HEAD_DIM, MAX_HEADS } from '../family.js';
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
      const isInterleaved = config.bool('indexer_rope_interleave', pairing === 'interleaved');
      const pairs = isInterleaved ? 'interleaved' : 'half';
      const choosing = layersThatChoose(config);
      return latentModel(config, config, has, (mla, layer, rope) => {
        return choosing[layer] === true
          ? { ...mla, indexer: indexer(config, layer, mla, rope, pairs) }
          : { ...mla, sharesKeys: true };
      });
    },
  };
}

/** The others have no indexer and take over what the last of these before them chose. */
function layersThatChoose(config: Config): boolean[] {
  const count = layerCount(config);
  const field = ['indexer_types', 'index_topk_pattern'].find((name) => config.has(name));
  if (field === undefined) {
    const every = config.int('index_topk_freq', { fallback: 1 });
    const offset = config.int('index_skip_topk_offset', { min: 0, fallback: 2 });
    return Array.from({ length: count }, (_, layer) => Math.max(layer - offset + 1, 0) % every === 0);
  }
  const given = config.raw(field);
  // "FFSS", or "full" and "shared" layer by layer.
  const types = typeof given === 'string' ? [...given] : (config.strings(field) ?? []);
  const isKnown = types.every((type) => ['F', 'S', 'full', 'shared'].includes(type));
  const choosing = types.map((type) => type === 'F' || type === 'full');
  if (isKnown && types.length === count && choosing[0] === true) return choosing;
  throw unsupported(config.name(field), given, `"full" or "shared" for ${count} layers, the first "full"`);
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
