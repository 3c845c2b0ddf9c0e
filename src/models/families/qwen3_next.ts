// As qwen3_5_moe, with the delta net's projections fused: rows of one key head after those of another.

import type { Config } from '../config.js';
import { type Family, layerPrefix } from '../family.js';
import type { GatedDeltaNetSpec } from '../spec.js';
import { deltaNet, gatedHybrid } from './qwen3_5_moe.js';

export const qwen3_next: Family = {
  modelType: 'qwen3_next',
  original: { normsLessOne: true, gateBits: 8 },
  readSpec: (config) => gatedHybrid(config, config, fusedDeltaNet),
};

function fusedDeltaNet(config: Config, layer: number): GatedDeltaNetSpec {
  const net = deltaNet(config, layer);
  const { conv, aLog, dtBias, norm, out } = net.tensors;
  const prefix = `${layerPrefix(layer)}.linear_attn`;
  const fused = { qkvz: `${prefix}.in_proj_qkvz`, ba: `${prefix}.in_proj_ba` };
  return { ...net, tensors: { ...fused, conv, aLog, dtBias, norm, out } };
}
