// How bytes come: along the tape by ranges, or as whole shards. Pure: what the journal says and the disk
// confirms in, the tape and the point to go on from out.

import { join } from 'node:path';
import type { TapeState } from '../addon/types.js';
import { PARTIAL_SUFFIX } from '../base/atomic-file.js';
import type { ModelPaths } from '../base/paths.js';
import { buildTape, type Tape, type TapeFile } from '../repack/tape.js';
import { tapePeak } from '../repack/tape-peak.js';
import { windowFor } from '../repack/tape-ranges.js';
import type { PackPlan } from '../repack/types.js';
import { LINE_EVERY_BYTES } from './expected-journal.js';
import type { JournalState } from './state.js';

/** The tape of a run, and how far earlier runs came on it. */
export interface TapeWork {
  tape: Tape;
  /** Last durable point; null at the beginning. */
  placed: TapeState | null;
  /** Whether the journal speaks of this tape already. */
  begun: boolean;
  /** Bytes of the ring for what arrives early. */
  window: number;
}

/** The record beside the ring. */
const MARK_BYTES = 16384;

/** Whole shards when that was begun, by this road's line or by a version that knew no other. */
export function roadOf(state: JournalState): 'ranges' | 'shards' {
  if (state.road !== null) return state.road.road;
  const underWay = state.verified.size > 0 || (state.dense.size > 0 && state.denseFile === null);
  return underWay ? 'shards' : 'ranges';
}

/** The tape that `state` is on, else a new one through all that is missing. */
export function tapeWork(plan: PackPlan, state: JournalState): TapeWork {
  const { road } = state;
  const window = windowFor(plan.finalBytes);
  const basis = road?.begun ?? {
    layers: new Set(state.layers.keys()),
    dense: state.denseFile !== null,
  };
  const tape = buildTape(plan, basis);
  return { tape, placed: road?.placed ?? null, begun: road !== null, window };
}

/** Bytes on disk while the tape runs, at most: model files, scratch, and the ring. */
export function peakAlong(plan: PackPlan, { tape, placed, window }: TapeWork): number {
  if (tape.length === 0) return 0;
  const ofTape = new Set(tape.files.flatMap((f) => (f.kind === 'layer' ? [f.layer] : [])));
  const dense = tape.files.some(({ kind }) => kind === 'dense') ? 0 : plan.dense.size;
  const before = plan.layers
    .filter(({ layer }) => !ofTape.has(layer))
    .reduce((sum, { size }) => sum + size, dense);
  return (
    before + tapePeak(tape, LINE_EVERY_BYTES + window, placed?.item ?? 0) + window + MARK_BYTES
  );
}

/** Number of passes whose seal lies before item `item`. */
export function sealedBefore({ passes, items }: Tape, item: number): number {
  return passes.filter((_, index) => (passes[index + 1]?.item ?? items.length) <= item).length;
}

/** Where a file of the tape lies until it has its final name. */
export function tapeFileName(
  file: TapeFile,
  plan: Pick<PackPlan, 'layers' | 'dense' | 'quant'>,
  paths: Pick<ModelPaths, 'root' | 'experts' | 'download'>,
): string {
  switch (file.kind) {
    case 'dense':
      return join(paths.root, plan.dense.file + PARTIAL_SUFFIX);
    case 'layer': {
      const name = plan.layers.find(({ layer }) => layer === file.layer)?.file ?? '';
      return join(paths.experts(plan.quant), name + PARTIAL_SUFFIX);
    }
    case 'scratch':
      return join(paths.download, file.name);
  }
}

/** Position of an item's first byte. */
export function startOf(tape: Tape, item: number): number {
  return tape.items
    .slice(0, item)
    .reduce((sum, each) => sum + (each.type === 'bytes' ? each.size : 0), 0);
}
