// config.json and a checkpoint's tensor names in, ModelSpec out. Owns which families exist; pure.

import { Config, unsupported } from './config.js';
import { deepseek_v3 } from './families/deepseek_v3.js';
import { deepseek_v32, glm_moe_dsa } from './families/deepseek_v32.js';
import { glm4_moe } from './families/glm4_moe.js';
import { gpt_oss } from './families/gpt_oss.js';
import { kimi_k2 } from './families/kimi_k2.js';
import { kimi_k25 } from './families/kimi_k25.js';
import { minimax, minimax_m2 } from './families/minimax_m2.js';
import { qwen3_5_moe, qwen3_5_moe_text } from './families/qwen3_5_moe.js';
import { qwen3_moe } from './families/qwen3_moe.js';
import { qwen3_next } from './families/qwen3_next.js';
import { qwen4_exp, qwen4_exp_text } from './families/qwen4_exp.js';
import type { Family } from './family.js';
import type { OriginalFacts } from './original-layout.js';
import type { ModelSpec } from './spec.js';

const FAMILIES: Family[] = [
  ...[qwen3_5_moe, qwen3_5_moe_text, qwen3_next, qwen3_moe],
  ...[deepseek_v3, deepseek_v32, glm_moe_dsa, kimi_k2, kimi_k25],
  ...[glm4_moe, minimax_m2, minimax, gpt_oss, qwen4_exp, qwen4_exp_text],
];

export const SUPPORTED_MODEL_TYPES: string[] = FAMILIES.map(({ modelType }) => modelType);

/**
 * `json` is the parsed config.json; `names` are manifest names (`language_model.` dropped).
 * Throws ERR_UNSUPPORTED_MODEL naming the field, its value and what is supported.
 */
export function readModelSpec(json: unknown, names: Pick<ReadonlySet<string>, 'has'>): ModelSpec {
  const config = Config.of(json);
  return familyOf(config).readSpec(config, (name) => names.has(name));
}

/** What is particular about the family's original checkpoints. Throws as readModelSpec does. */
export function originalFacts(json: unknown): OriginalFacts {
  return familyOf(Config.of(json)).original ?? {};
}

function familyOf(config: Config): Family {
  const type = config.raw('model_type');
  const family = FAMILIES.find(({ modelType }) => modelType === type);
  if (family === undefined) {
    throw unsupported('model_type', type, SUPPORTED_MODEL_TYPES.join(', '));
  }
  return family;
}
