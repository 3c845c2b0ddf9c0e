// What the catalogue knows of a model.

import type { OfferedQuant } from './quant.js';

export interface CatalogEntry {
  id: string;
  title: string;
  repo: string;
  /** In a line of ours. */
  goodFor: string;
  /** Of the weights, as public pages name it; the repository's own word decides. */
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
