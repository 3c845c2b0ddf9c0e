// Blocks of GGUF that the engine computes with as they are.

import type { BlockMode } from '../spec.js';

/** Values of a block and its bytes. */
export const BLOCK_MODES: Readonly<Record<BlockMode, { values: number; bytes: number }>> = {
  q4_0: { values: 32, bytes: 18 },
  q4_1: { values: 32, bytes: 20 },
  q5_0: { values: 32, bytes: 22 },
  q5_1: { values: 32, bytes: 24 },
  q8_0: { values: 32, bytes: 34 },
  q2_k: { values: 256, bytes: 84 },
  q3_k: { values: 256, bytes: 110 },
  q4_k: { values: 256, bytes: 144 },
  q5_k: { values: 256, bytes: 176 },
  q6_k: { values: 256, bytes: 210 },
};

/** `type` as GGUF calls it; null for what is no such block. */
export function blockMode(type: string): BlockMode | null {
  const mode = type.toLowerCase();
  return Object.hasOwn(BLOCK_MODES, mode) ? (mode as BlockMode) : null;
}
