// What the catalogue knows of a model.

import type { OfferedQuant } from './quant.js';

export interface CatalogEntry {
  id: string;
  title: string;
  repo: string;
  /** In a line of ours. */
  goodFor: string;
  /** Of the weights, as their authors' own page says it: see UNKNOWN_LICENSE; the repository's word decides. */
  license: string;
  modelType: string;
  /** Layers with routed experts. */
  routedLayers: number;
  experts: number;
  expertsPerToken: number;
  /** Bytes of one expert in a layer file, its stride; mixed: without a size of one's own. */
  expertBytes: Record<OfferedQuant, number>;
  denseBytes: number;
  /** Of n-gram rows, a file of their own that stays on the disk. Absent: none. */
  tableBytes?: number;
  /** Of dense weights in memory: denseBytes, and what is kept in another form at load. */
  residentBytes: number;
  /** Shards to fetch. */
  downloadBytes: number;
  shards: number;
  largestShardBytes: number;
  /** 16-bit KV cache a token, and state of fixed size. */
  kvBytesPerToken: number;
  stateBytes: number;
  contextLength: number;
  /** Numbers that a token is between two layers. */
  hiddenSize: number;
}

/** MLX starts a new shard before one grows beyond 5 GiB. */
export const MLX_SHARD_BYTES = 5 * 1024 ** 3;

/**
 * Where no page of the authors was found that names the licence of the weights, or pages differ. Found were: Qwen3.5, 3.6 and
 * Next, README of QwenLM/Qwen3.6; Qwen3 and Coder, their repositories; Kimi K2, README of MoonshotAI/Kimi-K2, and its model card
 * for Thinking; DeepSeek V3.2 and R1, README of deepseek-ai/DeepSeek-V3.2-Exp and DeepSeek-R1; gpt-oss, README of openai/gpt-oss.
 */
export const UNKNOWN_LICENSE = 'see the repository';

/** `licence MIT`, `licence: see the repository`. */
export function licenceWords(license: string): string {
  return license === UNKNOWN_LICENSE ? `licence: ${license}` : `licence ${license}`;
}
