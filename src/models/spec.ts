// A model as data: what the engine must compute and under which names its tensors lie. Pure types;
// this is the contract between families (who write it) and the native core (which reads it from
// model_weights.json and has never heard of a family). Formulas: docs/format.md.

/** Rotary embedding of one block. `invFreq[i]` is in radians per position; length = dims / 2. */
export interface RopeSpec {
  /** half: i pairs with i + dims/2. interleaved: 2i pairs with 2i + 1. */
  pairing: 'half' | 'interleaved';
  /** Leading dimensions of a head that rotate; the others pass through. */
  dims: number;
  /** Already scaled (YaRN or other), computed in double precision. */
  invFreq: number[];
  /** Factor on cos and sin; 1 unless YaRN's mscale and mscale_all_dim differ. */
  magnitude: number;
}

/** Grouped-query attention. All linears `[out, in]`; tensor values are manifest names without `.weight`. */
export interface GqaSpec {
  kind: 'gqa';
  heads: number;
  kvHeads: number;
  headDim: number;
  /** Softmax scale, usually headDim^-0.5. */
  scale: number;
  /** q_proj yields per head headDim query values, then headDim gate values; output times sigmoid(gate). */
  outputGate: boolean;
  /** RMS norm of each query and key head before RoPE; needs q_norm and k_norm. */
  qkNorm: boolean;
  /** With qkNorm: one norm over all heads of a token at once. Absent: no. */
  normAllHeads?: boolean;
  /** The linears add NAME.bias to their results. Absent: no. */
  qkvBias?: boolean;
  oBias?: boolean;
  /** Keys that a token sees, itself included. Absent: all. */
  window?: number;
  /** Absent: attention to all keys. */
  blocks?: BlockIndexerSpec;
  rope: RopeSpec;
  /** `sinks`: one more logit of the softmax a head, without a value. */
  tensors: {
    q: string;
    k: string;
    v: string;
    o: string;
    qNorm?: string;
    kNorm?: string;
    sinks?: string;
  };
}

/**
 * Chooses blocks of `ratio` consecutive keys: a token attends to those of the `budget / ratio` whole blocks whose sum over heads of
 * max(0, q . block) is largest, and to the keys behind the last whole block. A block's key is the normed mean of its tokens' keys,
 * rotated as its first position is. Frequencies are those of the attention.
 */
export interface BlockIndexerSpec {
  heads: number;
  dim: number;
  /** Keys in chosen blocks. */
  budget: number;
  ratio: number;
  /** `qk` yields `heads` queries and one key. */
  tensors: { qk: string; qNorm: string; kNorm: string };
}

/** Gated delta-net with causal depthwise convolution over q|k|v. State S is [valueDim, keyDim] a value head, f32. */
export interface GatedDeltaNetSpec {
  kind: 'gated_delta_net';
  keyHeads: number;
  valueHeads: number;
  keyDim: number;
  valueDim: number;
  convKernel: number;
  /** Added to the sum of squares when q and k are normalised to unit length. */
  qkNormEps: number;
  /** The head's output is times sigmoid(z) instead of silu(z). Absent: no. */
  sigmoidGate?: boolean;
  /** Value head h uses key head h % keyHeads instead of h / (valueHeads / keyHeads). Absent: no. */
  tiledHeads?: boolean;
  tensors: {
    /** Either qkv, z, a and b … */
    qkv?: string;
    z?: string;
    a?: string;
    b?: string;
    /** … or qkvz and ba: of each key head its q, k, and its value heads' v and z; and their b and a. */
    qkvz?: string;
    ba?: string;
    conv: string;
    aLog: string;
    dtBias: string;
    norm: string;
    out: string;
  };
}

/** Lightning indexer: a token attends to the `topK` keys whose sum over heads of weight * max(0, q . k) is largest. */
export interface IndexerSpec {
  heads: number;
  dim: number;
  topK: number;
  /** Of the layer norm of keys. */
  normEps: number;
  /** Of the first dimensions of its heads. */
  rope: RopeSpec;
  /** `q` takes the normed low-rank query; `kNorm` has a `.weight` and a `.bias`. */
  tensors: { q: string; k: string; kNorm: string; weights: string };
}

/** Multi-head latent attention. Cache holds `latent` (after norm) and the rotated shared key part. */
export interface MlaSpec {
  kind: 'mla';
  heads: number;
  /** null: one `q` projection instead of `qA`, `qANorm`, `qB`. */
  qLoraRank: number | null;
  kvLoraRank: number;
  nopeDim: number;
  ropeDim: number;
  valueDim: number;
  scale: number;
  /** eps of the two low-rank norms. */
  loraNormEps: number;
  rope: RopeSpec;
  /** Absent: attention to all keys. Needs a low-rank query. */
  indexer?: IndexerSpec;
  /** Attention to the keys that the last layer before with an indexer chose. Absent: no. */
  sharesKeys?: boolean;
  tensors: {
    q?: string;
    qA?: string;
    qANorm?: string;
    qB?: string;
    kvA: string;
    kvANorm: string;
    /** Either kvB [heads*(nopeDim+valueDim), kvLoraRank] … */
    kvB?: string;
    /** … or embedQ [heads, kvLoraRank, nopeDim] and unembedOut [heads, valueDim, kvLoraRank]. */
    embedQ?: string;
    unembedOut?: string;
    o: string;
  };
}

export type MixerSpec = GqaSpec | GatedDeltaNetSpec | MlaSpec;

/** down(silu(gate(x)) * up(x)). */
export interface DenseMlpSpec {
  kind: 'dense_mlp';
  intermediateSize: number;
  tensors: { gate: string; up: string; down: string };
}

export interface MoeSpec {
  kind: 'moe';
  experts: number;
  /** Experts per token by config; a caller may ask for fewer. */
  topK: number;
  intermediateSize: number;
  scoring: 'softmax' | 'sigmoid';
  /** Divide the chosen weights by their sum. */
  normTopK: boolean;
  /** Group-limited choice; 1 and 1 when there is none. */
  groups: number;
  topGroups: number;
  /** Factor on the routed weights after normalisation. */
  routedScale: number;
  /** The router, and the experts' projections, add a bias. Absent: no. */
  routerBias?: boolean;
  expertBias?: boolean;
  /** The experts' unit is (min(max(up, -c), c) + 1) * g * sigmoid(1.702 * g) with g = min(gate, c). Absent: silu(gate) * up. */
  clamp?: number;
  /** null: no shared expert. `gate` present: its output is times sigmoid(gate . x). */
  shared: {
    intermediateSize: number;
    tensors: { gate: string; up: string; down: string; sigmoidGate?: string };
  } | null;
  tensors: { router: string; choiceBias?: string };
}

export type MlpSpec = DenseMlpSpec | MoeSpec;

/**
 * What a block takes of several residual streams, and how its result goes back: with y the RMS norm of each stream (`norm` has
 * weights of all), the block's input is the mean over streams of sigmoid(up . silu(down . y / streams)) * y; stream s then grows by
 * 2 * sigmoid(inject . y / streams)_s times the block's output.
 */
export interface HyperConnectionSpec {
  rank: number;
  /** Without `inject` nothing goes back. */
  tensors: { norm: string; down: string; up: string; inject?: string };
}

/**
 * Rows of a table that the last tokens' ids choose, added to the residual streams before the layer. Ids are t_0 (the token's own),
 * t_1, …; t_s is `stopId` before the start, or where one of the s tokens before holds it. Of each order n from 2 to `order`, x is the
 * XOR over s < n of t_s * multipliers[s]; head j takes row x mod sizes[j] + offsets[j]. docs/format.md has the rest.
 */
export interface NgramSpec {
  /** Longest n-gram; also the convolution's dilation. */
  order: number;
  headsPerOrder: number;
  /** Values of all heads' rows together. */
  width: number;
  convKernel: number;
  stopId: number;
  /** Parts that the table has in the checkpoint. */
  parts: number;
  /** `table` is followed by `_` and the part's number. The middle three are I64. */
  tensors: {
    table: string;
    multipliers: string;
    sizes: string;
    offsets: string;
    key: string;
    value: string;
    keyNorm: string;
    queryNorm: string;
    convNorm: string;
    conv: string;
  };
}

/** One residual stream with a norm before each block, or several with `connections` instead. */
export interface LayerSpec {
  inputNorm?: string;
  mixer: MixerSpec;
  postNorm?: string;
  mlp: MlpSpec;
  connections?: { mixer: HyperConnectionSpec; mlp: HyperConnectionSpec };
  ngram?: NgramSpec;
}

/** The whole architecture, normalised from config.json by a family. Stored as `config` in model_weights.json. */
export interface ModelSpec {
  schema: 1;
  /** model_type of the source, for messages only. */
  modelType: string;
  hiddenSize: number;
  /** Rows of the embedding and output matrices, padding included. */
  vocabSize: number;
  normEps: number;
  /** Context limit of the model in tokens. */
  maxPositions: number;
  embed: string;
  /** Absent with `streams`. */
  finalNorm?: string;
  /** Several residual streams, all of them the embedding at first; `mixer` gives what the output matrix takes. Absent: one. */
  streams?: { count: number; mixer: HyperConnectionSpec };
  /** Equal to `embed` when tied. */
  lmHead: string;
  layers: LayerSpec[];
}

/** Element types that may occur in packed files. */
export type DType = 'U32' | 'BF16' | 'F16' | 'F32' | 'U8' | 'I64';

/** How packed codes stand for numbers: MLX's modes of quantisation. */
export type QuantMode = 'affine' | 'mxfp4' | 'nvfp4' | 'mxfp8';

/** GGUF's blocks: values and their scales in one tensor of bytes, without bits and groups of their own. */
export type BlockMode =
  | 'q4_0'
  | 'q4_1'
  | 'q5_0'
  | 'q5_1'
  | 'q8_0'
  | 'q2_k'
  | 'q3_k'
  | 'q4_k'
  | 'q5_k'
  | 'q6_k';

/** One tensor of model_weights.bin. `bits`, `group_size` and `mode` only on the `.weight` of a quantised linear; no mode: affine. */
export interface DenseTensor {
  offset: number;
  size: number;
  shape: number[];
  dtype: DType;
  bits?: number;
  group_size?: number;
  mode?: QuantMode | BlockMode;
}

/** model_weights.json, format version 1. Offsets and sizes in bytes; every offset a multiple of 64. */
export interface DenseManifest {
  format: 'flashmoe-dense';
  version: 1;
  source: { repo: string; revision: string; shards: { path: string; size: number; sha256: string }[] };
  config: ModelSpec;
  num_tensors: number;
  file_size: number;
  sha256: string;
  tensors: Record<string, DenseTensor>;
}

/** One of gate_proj, up_proj, down_proj × weight, scales, biases, bias inside an expert. */
export interface ExpertComponent {
  name: string;
  offset: number;
  size: number;
  dtype: DType;
  /** Stored shape of one expert, e.g. U32 [I, H*bits/32]. */
  shape: number[];
  /** On `.weight` of a quantised projection; absent on an unquantised one, which has no scales and biases. */
  bits?: number;
  group_size?: number;
  mode?: QuantMode | BlockMode;
}

export interface ExpertLayout {
  expert_size: number;
  /** Distance between experts in the file: expert_size rounded up to 16,384. */
  expert_stride: number;
  components: ExpertComponent[];
}

/** layout.json beside the layer files, format version 1. Layers that differ in bits refer to different layouts. */
export interface ExpertsManifest {
  format: 'flashmoe-experts';
  /** 2 where experts of a layer differ: readers of version 1 would take them for alike. */
  version: 1 | 2;
  quant: string;
  source: { repo: string; revision: string };
  num_experts: number;
  layouts: ExpertLayout[];
  layers: {
    layer: number;
    file: string;
    size: number;
    sha256: string;
    layout: number;
    /** Where each expert begins and which layout it has; absent where all have `layout`. */
    experts?: { offset: number; layout: number }[];
  }[];
  /** Tables of n-gram rows. Absent: none. */
  tables?: RowTable[];
}

/** A file of `rows` rows without gaps; a row is its codes, then its scales and biases, or plain values. */
export interface RowTable {
  layer: number;
  file: string;
  size: number;
  sha256: string;
  rows: number;
  columns: number;
  /** Of scales and biases, or of plain values. */
  dtype: DType;
  bits?: number;
  group_size?: number;
}
