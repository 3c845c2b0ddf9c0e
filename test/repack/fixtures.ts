// Fixture folders and the built addon, for tests that need real bytes.

import { join } from 'node:path';
import { loadAddon } from '../../src/addon/load.js';
import { packageRoot } from '../../src/base/package-root.js';
import type { NativeAddon } from '../../src/addon/types.js';

export const FAMILIES = ['qwen3_5_moe', 'qwen3_moe', 'deepseek_v3', 'kimi_k2'] as const;

export function fixture(family: (typeof FAMILIES)[number]): string {
  return join(packageRoot, 'test', 'fixtures', family);
}

/** The addon as built in this tree. */
export function testAddon(): NativeAddon {
  return loadAddon([join(packageRoot, 'build', 'Release', 'flashmoe.node')]).addon;
}
