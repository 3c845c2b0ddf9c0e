// What is done, from what the journal says. Pure: lines in, facts out.

import type { PackPlan } from '../repack/types.js';
import type { WritePosition } from '../addon/types.js';
import type { JournalEntry } from './journal-lines.js';
import type { Requantised } from './requantisation.js';

export interface FileFact {
  file: string;
  bytes: number;
  sha256: string;
  /** Of its blocks, where it was hashed with them; see NativeAddon.hashFile. */
  chain?: string[];
}

/** Nobody but `applyEntry` writes to it: what is done is done when the journal says so. */
export interface JournalState {
  /** Shards whose whole file was verified and not released since. */
  readonly verified: ReadonlyMap<string, { bytes: number; sha256: string }>;
  /** Shards of which every byte was placed by ranges and whose sha256 was the hub's. */
  readonly sealed: ReadonlyMap<string, { bytes: number; sha256: string }>;
  /** Shards whose dense tensors are written. */
  readonly dense: ReadonlySet<string>;
  readonly layers: ReadonlyMap<number, FileFact>;
  /** What requantising left, by layer and projection. */
  readonly errors: ReadonlyMap<string, Requantised>;
  readonly denseFile: FileFact | null;
  /** Tokenizer, template and config files, by name. */
  readonly copied: ReadonlyMap<string, FileFact>;
  /** How bytes come; null before the first of them. */
  readonly transfer: TransferState | null;
  readonly finished: boolean;
}

export interface TransferState {
  readonly mode: 'ranges' | 'shards';
  /** Fingerprint of the write plan; null for whole shards. */
  readonly writePlan: string | null;
  /** What was done when it began: the write plan leads through the rest. */
  readonly begun: WritePlanBasis;
  /** Last durable point of the write plan. */
  readonly placed: WritePosition | null;
  /** Digests that were not the hub's, by shard. */
  readonly mismatches: ReadonlyMap<string, string>;
}

/** The facts that a write plan is made from: it is the same again whenever these are. */
export interface WritePlanBasis {
  readonly layers: ReadonlySet<number>;
  readonly dense: boolean;
  /** Shards whose dense tensors were in their partial file before. */
  readonly denseShards: ReadonlySet<string>;
}

/** The same, for the reducer alone. */
interface Writable {
  verified: Map<string, { bytes: number; sha256: string }>;
  sealed: Map<string, { bytes: number; sha256: string }>;
  dense: Set<string>;
  layers: Map<number, FileFact>;
  errors: Map<string, Requantised>;
  denseFile: FileFact | null;
  copied: Map<string, FileFact>;
  transfer: (Omit<TransferState, 'placed' | 'mismatches'> & WritableTransfer) | null;
  finished: boolean;
}

interface WritableTransfer {
  placed: WritePosition | null;
  mismatches: Map<string, string>;
}

export function reduceJournal(entries: readonly JournalEntry[]): JournalState {
  const state: Writable = {
    verified: new Map(),
    sealed: new Map(),
    dense: new Set(),
    layers: new Map(),
    errors: new Map(),
    denseFile: null,
    copied: new Map(),
    transfer: null,
    finished: false,
  };
  for (const entry of entries) applyEntry(state, entry);
  return state;
}

/** What one more line of the journal says. */
export function applyEntry(to: JournalState, entry: JournalEntry): void {
  const state = to as Writable;
  switch (entry.step) {
    case 'verified':
      state.verified.set(entry.shard, { bytes: entry.bytes, sha256: entry.sha256 });
      break;
    case 'dense':
      state.dense.add(entry.shard);
      break;
    case 'packed':
      state.layers.set(entry.layer, fact(entry));
      forgetParts(state, entry.errors ?? []);
      noteErrors(state, entry.errors ?? []);
      break;
    case 'released':
      state.verified.delete(entry.shard);
      break;
    case 'dense-finished':
      state.denseFile = fact(entry);
      break;
    case 'copied':
      state.copied.set(entry.file, fact(entry));
      break;
    case 'road':
      // What was sealed has its dense tensors in their file, whoever goes on from here.
      if (entry.road === 'shards') for (const shard of state.sealed.keys()) state.dense.add(shard);
      else state.sealed.clear();
      state.transfer = {
        mode: entry.road,
        writePlan: entry.tape,
        begun: {
          layers: new Set(state.layers.keys()),
          dense: state.denseFile !== null,
          denseShards: new Set(state.dense),
        },
        placed: null,
        mismatches: new Map(),
      };
      break;
    case 'placed':
      if (state.transfer !== null) {
        const { at, item, hash } = entry;
        state.transfer.placed = { at, item, hash };
      }
      noteErrors(state, entry.errors ?? []);
      break;
    case 'sealed':
      state.sealed.set(entry.shard, { bytes: entry.bytes, sha256: entry.sha256 });
      break;
    case 'mismatch':
      state.transfer?.mismatches.set(entry.shard, entry.sha256);
      break;
    case 'damaged':
      forget(state, entry.file);
      break;
    case 'finished':
      state.finished = true;
      break;
  }
}

/** The same bytes always leave the same, so of one projection (or one expert's part of it) the account of the most values holds. */
function noteErrors({ errors }: Pick<Writable, 'errors'>, more: readonly Requantised[]): void {
  for (const each of more) {
    const key = `${each.layer}.${each.projection}.${each.from ?? 0}`;
    if ((errors.get(key)?.values ?? -1) <= each.values) errors.set(key, each);
  }
}

/** What was said of parts of a projection that is told of as a whole now. */
function forgetParts({ errors }: Pick<Writable, 'errors'>, whole: readonly Requantised[]): void {
  for (const { layer, projection } of whole) {
    for (const key of [...errors.keys()]) {
      if (key.startsWith(`${layer}.${projection}.`)) errors.delete(key);
    }
  }
}

/** Claims about a file, and about what went into it. */
function forget(state: Writable, file: string): void {
  state.copied.delete(file);
  const isDense = state.denseFile?.file === file;
  const layers = [...state.layers].filter(([, { file: of }]) => of === file);
  for (const [layer] of layers) state.layers.delete(layer);
  if (isDense) {
    state.denseFile = null;
    state.dense.clear();
  }
  // A write plan that made it must not take it for made.
  if ((isDense || layers.length > 0) && state.transfer?.mode === 'ranges') state.transfer = null;
}

function fact(entry: Omit<FileFact, 'chain'> & { chain?: string[] | undefined }): FileFact {
  const { file, bytes, sha256, chain } = entry;
  return { file, bytes, sha256, ...(chain === undefined ? {} : { chain }) };
}

/** Sizes in bytes of what is on disk now; a missing name is a missing file. */
export interface DiskSizes {
  /** By shard path, in the download folder. */
  shards: ReadonlyMap<string, number>;
  /** By path relative to the model's folder. */
  files: ReadonlyMap<string, number>;
  /** Of the dense file while it is being written. */
  densePartial: number | null;
  /** Of layer files while they are being written, and under their final names. */
  partials: ReadonlyMap<number, number>;
  named: ReadonlyMap<number, number>;
}

/** Length of the dense file once the tensors of `shards` are in it. */
export function denseEnd(plan: Pick<PackPlan, 'dense'>, shards: ReadonlySet<string>): number {
  return plan.dense.entries
    .filter(({ shard }) => shards.has(shard))
    .reduce((end, { targetOffset, size }) => Math.max(end, targetOffset + size), 0);
}

/** Shards that something still has to be read from, in the plan's order. */
export function neededShards(plan: PackPlan, state: JournalState): string[] {
  const open = new Set<string>();
  for (const layer of plan.layers) {
    if (!state.layers.has(layer.layer)) for (const shard of layer.shards) open.add(shard);
  }
  if (state.denseFile === null) {
    for (const { shard } of plan.dense.entries) if (!state.dense.has(shard)) open.add(shard);
  }
  return plan.order.filter((shard) => open.has(shard));
}

/** Bytes of the plan's download that need not be fetched again: released, verified, or not needed any more. */
export function doneBytes(plan: PackPlan, state: JournalState): number {
  const needed = new Set(neededShards(plan, state));
  return plan.shards
    .filter(({ path }) => plan.order.includes(path))
    .filter(({ path }) => !needed.has(path) || state.verified.has(path))
    .reduce((sum, { size }) => sum + size, 0);
}
