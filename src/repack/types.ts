// safetensors in, packed model out. A plan is pure data over headers: when it exists, nothing is
// left to decide. Contract for the folder; the writer executes it through the native addon.

import type { PackProjection } from '../addon/types.js';
import type { Quant } from '../models/quant.js';
import type { DType, ExpertLayout, ModelSpec, QuantMode } from '../models/spec.js';

/** Reads [start, start + length) of a file wherever it lies, so a header parser can't tell disk from network. */
export type ReadRange = (start: number, length: number) => Promise<Uint8Array>;

export interface SourceTensor {
  name: string;
  dtype: string;
  shape: number[];
  shard: string;
  /** Absolute in the shard file. */
  offset: number;
  size: number;
}

export interface ShardInfo {
  path: string;
  size: number;
  sha256: string;
}

/** What a plan keeps of a calibration's file. */
export interface Calibration {
  size: number;
  sha256: string;
  /** Of the model that saw the text. */
  repo: string;
  commit: string;
  tokens: number;
}

/** All tensors of a checkpoint after validation of each header (docs/format.md), no duplicates, index checked. */
export interface Inventory {
  shards: ShardInfo[];
  tensors: Map<string, SourceTensor>;
}

export interface DenseEntry {
  /** Manifest name, `language_model.` dropped. */
  name: string;
  shard: string;
  sourceOffset: number;
  targetOffset: number;
  size: number;
  shape: number[];
  dtype: DType;
  bits?: number;
  group_size?: number;
  mode?: QuantMode;
}

export interface LayerPlan {
  layer: number;
  file: string;
  size: number;
  layout: number;
  /** Shards that must be on disk and verified to write this layer. */
  shards: string[];
  experts: number;
  /** As the addon takes it, but `source` is a shard's repository path until the writer resolves it. */
  projections: PackProjection[];
  /** Not experts but a table of n-gram rows: `projections` are its parts, `experts` the rows of each. */
  table?: { layer: number; columns: number };
}

/** Everything a provisioning will write, in order. JSON-serialisable; `fingerprint` is the sha256 of its canonical form. */
export interface PackPlan {
  schema: 1;
  fingerprint: string;
  quant: Quant;
  repo: string;
  commit: string;
  spec: ModelSpec;
  shards: ShardInfo[];
  dense: { file: string; size: number; entries: DenseEntry[] };
  layouts: ExpertLayout[];
  layers: LayerPlan[];
  /** What requantising weighs errors by; absent: all alike. */
  calibration?: Calibration;
  /** Shard order that lets shards go early. */
  order: string[];
  /** Names left out on purpose (vision, multi-token prediction …), for the log. */
  skipped: string[];
  warnings: string[];
  finalBytes: number;
  /** Most bytes on disk at any moment when shards are fetched in `order` and released as soon as possible. */
  peakBytes: number;
}
