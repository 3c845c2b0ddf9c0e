// safetensors in, packed model out. A plan is pure data over headers: when it exists, nothing is
// left to decide. Contract for the folder; the writer executes it through the native addon.

import type { ConvertPlace, ConvertWay, Encoding, PackProjection } from '../addon/types.js';
import type { Quant } from '../models/quant.js';
import type { BlockMode, DType, ExpertLayout, ModelSpec, QuantMode } from '../models/spec.js';

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

/** Bytes [start, end) of a shard. */
export interface SourceRange {
  shard: string;
  start: number;
  end: number;
}

/** Bytes of one source tensor; `at` is where they begin in the whole that all pieces make. */
export interface SourcePiece {
  shard: string;
  offset: number;
  size: number;
  at: number;
}

/** Matrices that are stored in another form, or in another order, than an original checkpoint has them. */
export interface Conversion {
  pieces: SourcePiece[];
  /** Bytes of the matrices of one expert; of all in the dense file. */
  slice: number;
  /** Two matrices take turns in a slice, so many bytes each time. */
  unit?: number;
  /** null: bytes stay as they are, and only `offsets.weight` of the ways counts. */
  encoding: Encoding | null;
  columns: number;
  scales: {
    pieces: SourcePiece[];
    slice: number;
    groupSize: number;
    dtype: 'BF16' | 'F16' | 'F32';
  } | null;
  likeMlx: boolean;
  exact: boolean;
  plain: ConvertPlace['plain'];
  ways: ConvertWay[];
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
  mode?: QuantMode | BlockMode;
  /** By one of the conversions: `sourceOffset` is of the tensor that it is made of. */
  made?: true;
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
  /** Of an original checkpoint; then there are no projections. */
  conversions?: Conversion[];
  /** Experts of this layer that stay as published while `layout` and `projections` are those of the others. */
  kept?: { layout: number; experts: number[]; projections: PackProjection[] };
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
  dense: { file: string; size: number; entries: DenseEntry[]; conversions?: Conversion[] };
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
