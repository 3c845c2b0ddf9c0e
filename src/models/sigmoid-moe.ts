// Routed experts chosen by sigmoid and a correction bias, as config.json of DeepSeek's line and its heirs describes them.

import { type Config, unsupported } from './config.js';
import { gatedMlpTensors, layerPrefix, MAX_EXPERTS } from './family.js';
import type { MoeSpec } from './spec.js';

/** Throws ERR_UNSUPPORTED_MODEL naming the field. */
export function sigmoidMoe(config: Config, layer: number): MoeSpec {
  const prefix = `${layerPrefix(layer)}.mlp`;
  const experts = config.int('n_routed_experts', { max: MAX_EXPERTS });
  const groups = config.int('n_group', { max: experts, fallback: 1 });
  const topGroups = config.int('topk_group', { max: groups, fallback: 1 });
  if (experts % groups !== 0) {
    throw unsupported(config.name('n_group'), groups, `a divisor of ${experts} experts`);
  }
  const intermediateSize = config.int('moe_intermediate_size');
  const shared = config.int('n_shared_experts', { min: 0, max: 64, fallback: 0 });
  return {
    kind: 'moe',
    experts,
    // Only experts of the chosen groups can be taken.
    topK: config.int('num_experts_per_tok', { max: (topGroups * experts) / groups }),
    intermediateSize,
    scoring: 'sigmoid',
    normTopK: config.bool('norm_topk_prob', true),
    groups,
    topGroups,
    routedScale: config.number('routed_scaling_factor'),
    shared:
      shared === 0
        ? null
        : {
            intermediateSize: intermediateSize * shared,
            tensors: gatedMlpTensors(`${prefix}.shared_experts`),
          },
    tensors: {
      router: `${prefix}.gate`,
      choiceBias: `${prefix}.gate.e_score_correction_bias`,
    },
  };
}
