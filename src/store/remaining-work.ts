// The rest of a plan as steps, and how far a download may run ahead of them. Pure. The promise is the peak
// of doing one thing after the other; a download starts early only where that peak leaves room for it.

import { schedule, type ScheduleStep } from '../repack/schedule.js';
import type { PackPlan } from '../repack/types.js';
import { denseEnd, neededShards, type JournalState } from './state.js';

export interface RemainingWork {
  steps: ScheduleStep[];
  /** Bytes of model data on disk now, partial downloads not counted. */
  startBytes: number;
  /** The same after each step. */
  levels: number[];
  /** The most of all of them. */
  peakBytes: number;
  /** Index of a fetch step → index of the first step beside which its download may run. */
  mayStart: Map<number, number>;
}

export function remainingWork(plan: PackPlan, state: JournalState): RemainingWork {
  const order = neededShards(plan, state);
  const entries = state.denseFile === null ? plan.dense.entries : [];
  const steps: ScheduleStep[] = [
    // Left by a run that was stopped between the journal's line and the deletion of the file.
    ...[...state.verified.keys()]
      .filter((shard) => !order.includes(shard))
      .map((shard): ScheduleStep => ({ type: 'release', shard })),
    ...schedule({
      shards: plan.shards,
      dense: { entries: entries.filter(({ shard }) => !state.dense.has(shard)) },
      layers: plan.layers.filter(({ layer }) => !state.layers.has(layer)),
      order,
    }),
  ];
  const { startBytes, levels } = simulate(plan, state, steps);
  const peakBytes = Math.max(startBytes, ...levels);
  const sizes = sizesOf(plan);
  const toFetch = (shard: string): number =>
    state.verified.has(shard) ? 0 : (sizes.shards.get(shard) ?? 0);
  return {
    steps,
    startBytes,
    levels,
    peakBytes,
    mayStart: earliestStarts(steps, [startBytes, ...levels], peakBytes, toFetch),
  };
}

function simulate(
  plan: PackPlan,
  state: JournalState,
  steps: readonly ScheduleStep[],
): { startBytes: number; levels: number[] } {
  const { shards, layers } = sizesOf(plan);
  const isHere = new Set(state.verified.keys());
  let dense = state.denseFile?.bytes ?? denseEnd(plan, state.dense);
  let held = [...state.layers.keys()].reduce((sum, layer) => sum + (layers.get(layer) ?? 0), 0);
  for (const shard of isHere) held += shards.get(shard) ?? 0;
  const startBytes = held + dense;
  const levels = steps.map((step) => {
    switch (step.type) {
      case 'fetch':
        if (!isHere.has(step.shard)) held += shards.get(step.shard) ?? 0;
        break;
      case 'dense':
        dense = Math.max(dense, denseEnd(plan, new Set([step.shard])));
        break;
      case 'layer':
        held += layers.get(step.layer) ?? 0;
        break;
      case 'release':
        held -= shards.get(step.shard) ?? 0;
    }
    return held + dense;
  });
  return { startBytes, levels };
}

/** `before[i]` is the level before step i. One download ahead at most: never past the fetch before it. */
function earliestStarts(
  steps: readonly ScheduleStep[],
  before: readonly number[],
  peak: number,
  toFetch: (shard: string) => number,
): Map<number, number> {
  const starts = new Map<number, number>();
  let previous = -1;
  steps.forEach((step, index) => {
    if (step.type !== 'fetch') return;
    const size = toFetch(step.shard);
    let start = index;
    while (start - 1 > previous && (before[start - 1] ?? Infinity) + size <= peak) start -= 1;
    starts.set(index, start);
    previous = index;
  });
  return starts;
}

function sizesOf(plan: PackPlan): { shards: Map<string, number>; layers: Map<number, number> } {
  return {
    shards: new Map(plan.shards.map(({ path, size }) => [path, size])),
    layers: new Map(plan.layers.map(({ layer, size }) => [layer, size])),
  };
}
