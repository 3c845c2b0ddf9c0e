// TypeScript's only view of the native addon (native/addon/). Written by hand; a test holds it
// against what the binary exports. Only addon/load.ts loads the binary.
// Over 400 lines: it is one interface, that of one binary.

/** Work in native threads. `cancel` makes `done` reject with code ERR_INTERRUPTED at the next safe point. */
export interface NativeJob<T> {
  done: Promise<T>;
  cancel(): void;
}

export type Progress = (doneBytes: number, totalBytes: number) => void;

/** One contiguous copy. All numbers are bytes. */
export interface CopyRange {
  source: string;
  sourceOffset: number;
  targetOffset: number;
  size: number;
}

export interface CopyJob {
  /** Created if absent, never truncated; opened without following a symbolic link. */
  target: string;
  ranges: CopyRange[];
  /** fsync (F_FULLFSYNC on macOS) before the job is done. */
  sync: boolean;
}

/** A component of all experts of one layer: expert e lies at offset + e * stride. */
export interface StackedTensor {
  source: string;
  offset: number;
  /** Of all experts together. */
  size: number;
  /** Absent: size / experts, one behind the other. */
  stride?: number;
  dtype: 'U32' | 'BF16' | 'F16' | 'F32' | 'U8';
}

/** gate_proj, up_proj or down_proj of a layer. rows × columns are logical (unpacked) dimensions of one expert. */
export interface PackProjection {
  rows: number;
  columns: number;
  /** Bits and group size in the source; bits 0 = unquantised weight without scales and biases. */
  sourceBits: number;
  groupSize: number;
  weight: StackedTensor;
  scales: StackedTensor | null;
  biases: StackedTensor | null;
  /** [rows] a expert, added to its results: copied. */
  bias?: StackedTensor;
  /** Equal to sourceBits: bytes are copied as they are. 2, 3 or 5 from more, 4 or 8: requantised, parameters become BF16. */
  targetBits: number;
  targetOffsets: { weight: number; scales: number; biases: number; bias?: number };
  /** For projections that are requantised: how much their columns count. Absent: all alike. */
  importance?: ImportanceRow;
}

/** BF16 [columns] in a file of mean squares; expert e's `e * stride` bytes behind, 0 where all share one row. */
export interface ImportanceRow {
  source: string;
  offset: number;
  stride: number;
}

export interface PackLayerJob {
  /** Written whole from offset 0 (truncated first), fsynced before done. */
  target: string;
  experts: number;
  expertStride: number;
  projections: PackProjection[];
  /** What is made of these experts instead, ascending; as many projections. Absent: all are alike. */
  others?: { experts: number[]; expertStride: number; projections: PackProjection[] };
  /** search: error-minimising (docs/format.md). minmax: range only, the baseline for comparisons. */
  method: 'search' | 'minmax';
  threads: number;
}

/** Sums over values, from stored bytes, against the source's own values; zeros where bytes were copied. */
export interface ErrorSums {
  squaredError: number;
  /** What the range method leaves on the same values. */
  rangeError: number;
  /** Of the source's values, and of their squares. */
  sum: number;
  sumOfSquares: number;
  values: number;
}

export interface PackLayerResult {
  bytesRead: number;
  bytesWritten: number;
  sha256: string;
  /** Per projection, over all experts. */
  error: ErrorSums[];
}

/** How an original checkpoint's values are stored: F8_E4M3 in blocks of 128 x 128, int4 and mxfp4 in groups of a row. */
export type Encoding = 'BF16' | 'F16' | 'F32' | 'F8_E4M3' | 'int4' | 'mxfp4';

/** Where one matrix goes in each slice: affine codes with BF16 parameters, or plain values at `weight` when `bits` is 0. */
export interface ConvertWay {
  bits: number;
  groupSize: number;
  offsets: { weight: number; scales: number; biases: number };
}

/** Values that are stored in another form than they come in. `from`, `slice`, `stride` and `unit` as in a spread. */
export interface ConvertPlace {
  kind: 'convert';
  file: number;
  from: number;
  slice: number;
  stride: number;
  unit?: number;
  encoding: Encoding;
  /** Values of a row. */
  columns: number;
  /** The source's own, from the first slice on in a file: `stride` bytes for each slice, `groupSize` values to one. */
  scales: { file: number; stride: number; groupSize: number; dtype: 'BF16' | 'F16' | 'F32' } | null;
  /** As MLX's Metal kernel chooses codes; else with the least squared error that is found. */
  likeMlx: boolean;
  /** int4: codes and scales stay, biases are made. */
  exact: boolean;
  /** What plain values become; `addend` is added first, or ln(-value) taken. */
  plain: { dtype: 'BF16' | 'F16' | 'F32'; addend: number; logOfNegative?: true } | null;
  /** Two with a unit. */
  ways: ConvertWay[];
}

/** What becomes of an item's bytes. `file` is an index into WriteJob.files; all else is bytes unless said otherwise. */
export type WritePlace =
  /** Hashed only. */
  | { kind: 'drop' }
  | { kind: 'copy'; file: number; offset: number }
  /**
   * A stacked tensor: byte b of it goes to offset + floor(b / slice) * stride + b % slice. The item begins at byte `from`.
   * With a `unit` each slice holds two matrices, so many bytes of the one and of the other in turn; the second one's go to
   * `second`.
   */
  | {
      kind: 'spread';
      file: number;
      from: number;
      slice: number;
      offset: number;
      stride: number;
      unit?: number;
      second?: number;
    }
  | ConvertPlace
  /** Codes of `bits` that become `targetBits`, absent: 2; their parameters lie in two other files, from the tensor's first byte on. */
  | {
      kind: 'requantise';
      file: number;
      from: number;
      slice: number;
      stride: number;
      bits: number;
      targetBits?: number;
      /** Where expert 0 would begin, if all before these were as long as they are; absent: 0. */
      base?: number;
      groupSize: number;
      dtype: 'BF16' | 'F16' | 'F32';
      scales: number;
      biases: number;
      offsets: { weight: number; scales: number; biases: number };
      /** Of one expert; needed with `importance`, which lies in WriteJob.importance. */
      columns?: number;
      importance?: { offset: number; stride: number };
    };

export type WriteItem =
  /** `hashed`: these are the next bytes of the shard in file order. */
  | { type: 'bytes'; size: number; hashed: boolean; place: WritePlace }
  /** No bytes of the write plan: the next bytes of the shard, for its hash, were put into a file earlier. */
  | { type: 'recall'; file: number; offset: number; size: number }
  /** End of a shard: the digest must be this, in hex; then a new hash begins. */
  | { type: 'seal'; sha256: string };

export interface WriteJob {
  files: {
    path: string;
    /** Made this long at once (with holes), never shortened; created if absent, links refused. */
    size: number;
  }[];
  items: WriteItem[];
  /** Ring for bytes that arrived early, and the record of what is in it; created if absent. */
  spool: string;
  mark: string;
  /** File of mean squares; null where no place has importance. */
  importance: string | null;
  /** Bytes of the ring. */
  window: number;
  /** What the mark must be bound to, any text: one of another write plan is ignored. */
  binding: string;
  /** Last journalled state; null at the beginning. */
  from: WritePosition | null;
  /** Errors of the item that `from` lies in, up to there. */
  sums: ErrorSums | null;
  /** Native threads that write and requantise. */
  threads: number;
  method: 'search' | 'minmax';
}

/** A point of the write plan before which everything is in its file. */
export interface WritePosition {
  /** Position in bytes. */
  at: number;
  /** Index of the first item that is not done; it begins at or before `at`. */
  item: number;
  /** State of the shard's sha256 (104 bytes in hex). */
  hash: string;
}

export interface WriteCheckpoint extends WritePosition {
  /** Seals passed since the write plan's beginning. */
  sealed: number;
  /** The last one may be of an item under way. */
  errors: ({ item: number } & ErrorSums)[];
}

/** Carries a write plan out: takes bytes in any order, hashes and places them in the plan's order. */
export interface ScatterWriter {
  /**
   * `placed`: position before which everything is in its file, though not synced. `received`: sorted pieces
   * behind it that wait in the spool; `sealed`: seals passed since the write plan's beginning; `mismatch`: the seal
   * that ended the work with ERR_HASH, and the digest that came in its place.
   */
  state(): {
    placed: number;
    sealed: number;
    received: { start: number; end: number }[];
    mismatch: { item: number; sha256: string } | null;
  };
  /**
   * Takes the bytes at a position. Resolves when they outlive this process; waits while the position is more
   * than the window beyond `placed`. The buffers must not change meanwhile.
   */
  put(position: number, chunks: Uint8Array[]): Promise<void>;
  /**
   * Syncs what is placed and returns where that is; with `drain` first waits until all that was put is placed.
   * `errors` are of the items that requantised up to there, those before the item `journalled` left out.
   */
  checkpoint(drain: boolean, journalled: number): Promise<WriteCheckpoint>;
  /** Lets go of a scratch file, so that it can be deleted. */
  release(file: number): void;
  /** Ends the threads; what was put and not placed stays in the spool. Pending calls reject with ERR_INTERRUPTED. */
  close(): Promise<void>;
}

/** Reads of one size at scattered places of some files, past the page cache or, for comparing, through it. */
export interface ReadRateJob {
  /** Those shorter than one read are passed over. */
  files: string[];
  /** Rounded down to whole pages of 16 KiB. */
  readBytes: number;
  /** Reads under way at once, 1 to 64. */
  depth: number;
  milliseconds: number;
  /** Jobs of one seed read the same places. */
  seed: number;
  /** Through the page cache, as it finds it; absent: past it. */
  cached?: boolean;
}

export interface ReadRate {
  /** 0 when no file is as long as one read. */
  bytes: number;
  reads: number;
  seconds: number;
  /** False where the file system takes no uncached reads: the figures are partly memory's then. */
  uncached: boolean;
}

/** How fast an operation is; numbers of one call in a chain of calls, the median of several chains. */
export interface KernelRate {
  name: string;
  /** What it must read and write once. */
  bytes: number;
  seconds: number;
  /** Of them, how long the device was at work; 0 on the CPU. */
  deviceSeconds: number;
}

export interface KernelRates {
  operations: KernelRate[];
  /** The smallest operation with a wait behind it. */
  waitSeconds: number;
}

/** By how many bytes wired memory grew while a device read all of a buffer. */
export interface WiredGrowth {
  mappedBytes: number;
  allocatedBytes: number;
}

export interface KernelCheck {
  name: string;
  maxError: number;
  tolerance: number;
  ok: boolean;
}

export interface SelfTest {
  ok: boolean;
  backend: string;
  /** Instruction set chosen at run time, e.g. avx512, avx2, neon, scalar. */
  isa: string;
  checks: KernelCheck[];
}

export type BackendName = 'cpu' | 'metal';
export type CacheType = '16bit' | 'f32';
export type Arithmetic = 'exact' | 'fast';

export interface MetalDevice {
  name: string;
  /** Bytes it can keep resident without paging others out, and bytes of its largest buffer. */
  recommendedWorkingSetBytes: number;
  maxBufferBytes: number;
  /** The system asks to save energy. */
  lowPower: boolean;
}

export interface EngineOptions {
  /** Folder with model_weights.{bin,json}. */
  modelDir: string;
  /** Folder with layout.json and layer files. */
  expertsDir: string;
  threads: number;
  ioThreads: number;
  /** Ids at or above it are padding rows and are never sampled. */
  tokenLimit: number;
  /** Fewer experts per token than the config says; 0 = as configured. */
  expertsPerToken: number;
  /** Experts are read past the page cache; ERR_IO where the file system can't. */
  directReads?: boolean;
  /** What attention keeps of earlier tokens; absent: 16bit. f32 is for comparing with references, on the CPU only. */
  cache?: CacheType;
  /**
   * fast: the CPU multiplies activations of 8 bits, a scale for each 32 of them, where weights are quantised. Absent: exact,
   * in f32. A GPU has one arithmetic.
   */
  arithmetic?: Arithmetic;
  /** An instruction set by name, for tests; absent: the best of this machine. CPU only. */
  isa?: string;
  /** Of a token's routed weight, what the experts that are computed carry at least; absent: all of it. */
  expertMass?: number;
  /** Tokens that go through a layer together in prefill: each expert is there once for all of them. Absent: 1,024. */
  prefillTokens?: number;
  backend: BackendName;
  /** Folder of the Metal kernels' sources (metal/ of the package); looked at for 'metal' only. */
  kernelsDir: string;
}

export interface EngineInfo {
  backend: string;
  isa: string;
  vocabSize: number;
  maxPositions: number;
  layers: number;
  expertsPerToken: number;
  /** Bytes mapped (dense), and bytes one token's routed experts take when none is in the page cache. */
  denseBytes: number;
  expertBytesPerToken: number;
  /** Fixed state (recurrent, convolution) and growth per token of context. */
  stateBytes: number;
  kvBytesPerToken: number;
  /** Bytes of all experts, and of the largest one. */
  expertFileBytes: number;
  largestExpertBytes: number;
  /** Memory that experts stay in, and how many are there; 0 where they are mapped. */
  expertPoolBytes: number;
  expertsHeld: number;
  /** Experts stay where their files are mapped. */
  expertsMapped: boolean;
  prefillTokens: number;
  /** Memory that a pass of prefill takes for each of its tokens. */
  prefillBytesPerToken: number;
}

export interface StepStats {
  tokens: number;
  seconds: number;
  /** Bytes and count of expert reads issued, whether or not the page cache had them. */
  expertBytesRead: number;
  expertReads: number;
  /** Experts that layers asked for, those of them that were in memory already, and how often computing stood still for one. */
  expertUses: number;
  expertHits: number;
  expertWaits: number;
  /** Bytes of all of these, as many for each hit as the largest expert has. */
  expertBytesUsed: number;
  /** Of `seconds`, how long computing stood still for expert reads. */
  ioSeconds: number;
  /**
   * Waits for the GPU to answer (a layer's router, the logits) and for buffers to come free, and what they
   * took; what the GPU itself was at work. 0 on the CPU.
   */
  deviceWaits: number;
  deviceWaitSeconds: number;
  deviceSeconds: number;
}

export interface SamplingParams {
  /** 0 = greedy; then the other fields are ignored. */
  temperature: number;
  topP: number;
  topK: number;
  minP: number;
  /** Allowed ids, one bit a token, little-endian words; null = all below tokenLimit. */
  allowed: Int32Array | null;
  /** Additive, by token id; applied before temperature. */
  bias: { ids: Int32Array; values: Float32Array } | null;
}

/** What tokens [from, to) left in the caches; equal: the part of fixed size behind so many tokens, of a mark there. */
export interface StatePart {
  path: string;
  from: number;
  to: number;
}

/** One conversation's state: tokens so far, KV, recurrent state, and the logits after its last token. */
export interface NativeSession {
  /** Tokens in the state. */
  length(): number;
  /**
   * Appends tokens, layer-major in chunks; leaves the last position's logits. Where it passes one of the lengths
   * `marks`, the state can be gone back to later; that costs no reads.
   */
  prefill(
    tokens: Int32Array,
    onProgress: (done: number, total: number) => void,
    marks?: Uint32Array,
  ): NativeJob<StepStats>;
  /** Appends one token. */
  decode(token: number): NativeJob<StepStats>;
  /** Chooses an id from the last logits. Deterministic for a seed set by seed(). */
  sample(params: SamplingParams): number;
  seed(seed: number): void;
  /** Copy of the last logits [vocabSize]. */
  logits(): Float32Array;
  /** Appends tokens and returns logits at every position [T, vocabSize] and, if asked, layers + 1 hidden states [T, hidden]: the input of each layer, then the final norm's output. */
  evaluate(
    tokens: Int32Array,
    hidden: boolean,
  ): NativeJob<{ logits: Float32Array; hidden: Float32Array[] }>;
  /** Back to empty. */
  reset(): void;
  /** An independent copy of the state; both go on from here. */
  fork(): NativeSession;
  /** A mark at the present length, with logits. Memory for marks is bounded: others may go for it. */
  mark(): void;
  /** The largest length up to `limit` that rewind takes: marks, the present length, 0; any where no state is recurrent. */
  reachable(limit: number): number;
  /** Back to that length. Logits are there only if the mark has them. */
  rewind(length: number): void;
  /**
   * Writes parts of the state to files, which must not exist, and returns their bytes. `tokens` are the state's first
   * ones, with all that the parts need. Runs beside later steps; until it is over the session can't go back below
   * tokens.length.
   */
  save(tokens: Int32Array, program: string, files: readonly StatePart[]): NativeJob<number>;
  /**
   * Makes the state that of `tokens`, from files of this model, top-k and `program`; leaves no logits. Ranges follow each
   * other, from what the state has of the same tokens already up to tokens.length; the last may go on behind. For a
   * model whose state has a part of fixed size, that part comes last. When it fails the state is as before or empty:
   * length() tells.
   */
  restore(tokens: Int32Array, program: string, files: readonly StatePart[]): NativeJob<void>;
  close(): void;
}

/** Sums over tokens, each weighted by the square of the expert's share in the layer's output. */
export interface ChannelSquares {
  experts: number;
  /** [hidden]: the input of gate and up, over all experts. */
  input: Float64Array;
  /** [experts, intermediate]: the input of down. */
  inner: Float64Array;
  /** [experts]: for how many tokens each was chosen. */
  tokens: Float64Array;
}

export interface NativeEngine {
  info(): EngineInfo;
  /** `maxTokens`: context to reserve address space for; ERR_CONTEXT when the memory isn't there. */
  createSession(maxTokens: number): NativeSession;
  /** From here on steps add up squares for calibration, at about twice the cost. */
  observe(): void;
  /** What the routed experts of a layer have seen since; null for a layer without any. Throws where nothing is observed. */
  squares(layer: number): ChannelSquares | null;
  /**
   * Between steps: experts stay in so many bytes of memory from here on, Infinity: all of them, on the CPU where their
   * files are mapped. Changes no result.
   */
  resizeExperts(bytes: number): NativeJob<void>;
  /** The most used experts in memory, into a small file; and those of such a file into free memory, while nobody waits for others. */
  saveHottest(path: string): void;
  warm(path: string): void;
  /** 16 hex digits: equal for engines whose saved states are exchangeable. */
  stateKey(program: string): string;
  close(): void;
}

export interface NativeAddon {
  /** Version of this contract; addon/load.ts refuses another one. */
  readonly contract: 9;
  selfTest(): SelfTest;
  /** The GPU that the backend metal would use, or why there is none. */
  metalDevice(): { device: MetalDevice | null; reason: string };
  /**
   * Every operation of a backend against double-precision references, on inputs drawn from `seed`: equal seeds
   * give all backends equal inputs. `isa` is the instruction set or the device. Throws ERR_ENGINE where the
   * backend is not available or its kernels, the files of `kernelsDir`, do not compile.
   */
  selfTestBackend(backend: BackendName, kernelsDir: string, seed: number): SelfTest;
  /**
   * How fast a backend gets through the operations of a token, each for about `seconds`, weights spread over
   * `memoryBytes` (192 MiB at least). Takes this thread until it is done. Throws as selfTestBackend.
   */
  measureRates(
    backend: BackendName,
    kernelsDir: string,
    threads: number,
    memoryBytes: number,
    seconds: number,
  ): KernelRates;
  /**
   * What reading the file, mapped, and as much allocated memory does to the system's wired memory. Takes this thread.
   * Throws as selfTestBackend; ERR_ENGINE also where the system doesn't say what is wired, which is everywhere but macOS.
   */
  measureWired(backend: BackendName, kernelsDir: string, file: string): WiredGrowth;
  copyRanges(job: CopyJob, onProgress: Progress): NativeJob<{ bytes: number }>;
  /** sha256 in hex of bytes [0, size) of a file. `chain`: the hash's inner state in hex after each full 16 MiB and at the end. */
  hashFile(
    path: string,
    onProgress: Progress,
  ): NativeJob<{ sha256: string; bytes: number; chain: string[] }>;
  /** Indices of the 16 MiB blocks of a file that don't lead from one state of `chain` to the next; the size must be right. */
  checkBlocks(
    path: string,
    chain: readonly string[],
    onProgress: Progress,
  ): NativeJob<{ bad: number[]; bytes: number }>;
  /** Opens files and reads the mark. Throws with a code for a job that can't be right or a file that can't be opened. */
  openTape(job: WriteJob): ScatterWriter;
  packLayer(job: PackLayerJob, onProgress: Progress): NativeJob<PackLayerResult>;
  measureReads(job: ReadRateJob): NativeJob<ReadRate>;
  openEngine(options: EngineOptions): NativeJob<NativeEngine>;
}
