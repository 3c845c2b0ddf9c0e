// How bytes come: along the write plan by ranges, or as whole shards. Pure: what the journal says and the disk
// confirms in, the write plan and the point to go on from out.

import { join } from 'node:path';
import type { WritePosition } from '../addon/types.js';
import { PARTIAL_SUFFIX } from '../base/atomic-file.js';
import type { ModelPaths } from '../base/paths.js';
import { buildWritePlan, type WritePlan, type WritePlanFile } from '../repack/write-plan.js';
import { writePlanPeak } from '../repack/write-plan-peak.js';
import { windowFor } from '../repack/write-plan-ranges.js';
import type { PackPlan } from '../repack/types.js';
import { LINE_EVERY_BYTES } from './expected-journal.js';
import type { JournalState } from './state.js';

/** The write plan of a run, and how far earlier runs came on it. */
export interface RangedWork {
  writes: WritePlan;
  /** Last durable point; null at the beginning. */
  placed: WritePosition | null;
  /** Whether the journal speaks of this write plan already. */
  begun: boolean;
  /** Bytes of the ring for what arrives early. */
  window: number;
}

/** The record beside the ring. */
const MARK_BYTES = 16384;

/** Whole shards when that was begun, by its journal line or by a version that knew no other. */
export function transferModeOf(state: JournalState): 'ranges' | 'shards' {
  if (state.transfer !== null) return state.transfer.mode;
  const underWay = state.verified.size > 0 || (state.dense.size > 0 && state.denseFile === null);
  return underWay ? 'shards' : 'ranges';
}

/** The write plan that `state` is on, else a new one through all that is missing. */
export function rangedWork(plan: PackPlan, state: JournalState): RangedWork {
  const { transfer } = state;
  const window = windowFor(plan.finalBytes);
  const basis = transfer?.begun ?? {
    layers: new Set(state.layers.keys()),
    dense: state.denseFile !== null,
    denseShards: state.dense,
  };
  const writes = buildWritePlan(plan, basis);
  return { writes, placed: transfer?.placed ?? null, begun: transfer !== null, window };
}

/** Bytes on disk while the write plan runs, at most: model files, scratch, and the ring. */
export function rangedPeak(plan: PackPlan, { writes, placed, window }: RangedWork): number {
  if (writes.length === 0) return 0;
  const ofPlan = new Set(writes.files.flatMap((f) => (f.kind === 'layer' ? [f.layer] : [])));
  const dense = writes.files.some(({ kind }) => kind === 'dense') ? 0 : plan.dense.size;
  const before = plan.layers
    .filter(({ layer }) => !ofPlan.has(layer))
    .reduce((sum, { size }) => sum + size, dense);
  return (
    before +
    writePlanPeak(writes, LINE_EVERY_BYTES + window, placed?.item ?? 0) +
    window +
    MARK_BYTES
  );
}

/** Number of passes whose seal lies before item `item`. */
export function sealedBefore({ passes, items }: WritePlan, item: number): number {
  return passes.filter((_, index) => (passes[index + 1]?.item ?? items.length) <= item).length;
}

/** Where a file of the write plan lies until it has its final name. */
export function writePlanPath(
  file: WritePlanFile,
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
export function startOf(writes: WritePlan, item: number): number {
  return writes.items
    .slice(0, item)
    .reduce((sum, each) => sum + (each.type === 'bytes' ? each.size : 0), 0);
}
