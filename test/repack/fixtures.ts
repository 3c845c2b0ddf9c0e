// Fixture folders and the built addon, for tests that need real bytes.

import { join, resolve } from 'node:path';
import { loadAddon } from '../../src/addon/load.js';
import { packageRoot } from '../../src/base/package-root.js';
import type { NativeAddon } from '../../src/addon/types.js';

export const FAMILIES = ['qwen3_5_moe', 'qwen3_moe', 'deepseek_v3', 'kimi_k2'] as const;

/** Families and formats that the CPU computes and Metal refuses by name. */
export const CPU_FAMILIES = [
  ...['kimi_k25', 'glm4_moe', 'qwen3_next', 'minimax_m2', 'gpt_oss', 'qwen4_exp'],
  ...['deepseek_v32', 'glm_moe_dsa', 'qwen3_moe-mxfp8', 'qwen3_moe-nvfp4'],
] as const;

export function fixture(family: string): string {
  return resolve(packageRoot, 'test', 'fixtures', family);
}

/** The addon as built in this tree. */
export function testAddon(): NativeAddon {
  return loadAddon([join(packageRoot, 'build', 'Release', 'flashmoe.node')]).addon;
}
