// In which order shards come and go. The same list of steps is what the pipeline executes and what the
// promised peak is computed from, so the promise can't drift from the deed.

import type { DenseEntry, LayerPlan, ShardInfo } from './types.js';

export type ScheduleStep =
  | { type: 'fetch'; shard: string }
  /** Copy the shard's dense tensors into model_weights.bin. */
  | { type: 'dense'; shard: string }
  | { type: 'layer'; layer: number }
  /** Nothing needs the shard any more. */
  | { type: 'release'; shard: string };

export interface Schedulable {
  shards: readonly ShardInfo[];
  dense: { entries: readonly DenseEntry[] };
  layers: readonly LayerPlan[];
}

/** Steps for shards fetched in `order`: each layer as soon as its last shard is there, each shard let go at once. */
export function schedule(plan: Schedulable & { order: readonly string[] }): ScheduleStep[] {
  const steps: ScheduleStep[] = [];
  const here = new Set<string>();
  const held = new Set<string>();
  const waiting = new Set(plan.layers);
  const withDense = new Set(plan.dense.entries.map(({ shard }) => shard));
  for (const shard of plan.order) {
    here.add(shard);
    held.add(shard);
    steps.push({ type: 'fetch', shard });
    if (withDense.has(shard)) steps.push({ type: 'dense', shard });
    const release = () => {
      for (const candidate of held) {
        if ([...waiting].some(({ shards }) => shards.includes(candidate))) continue;
        held.delete(candidate);
        steps.push({ type: 'release', shard: candidate });
      }
    };
    for (const layer of [...waiting]) {
      if (!layer.shards.every((needed) => here.has(needed))) continue;
      waiting.delete(layer);
      steps.push({ type: 'layer', layer: layer.layer });
      release();
    }
    release();
  }
  return steps;
}

/** Most bytes on disk at any moment of the schedule: shards held, layer files, dense file up to its last written byte. */
export function peakOf(plan: Schedulable & { order: readonly string[] }): number {
  const shardSize = new Map(plan.shards.map(({ path, size }) => [path, size]));
  const layerSize = new Map(plan.layers.map(({ layer, size }) => [layer, size]));
  // The file's length, not its blocks: not every file system leaves holes out.
  const denseEnd = new Map<string, number>();
  for (const { shard, targetOffset, size } of plan.dense.entries) {
    denseEnd.set(shard, Math.max(denseEnd.get(shard) ?? 0, targetOffset + size));
  }
  let [held, dense, peak] = [0, 0, 0];
  for (const step of schedule(plan)) {
    switch (step.type) {
      case 'fetch':
        held += shardSize.get(step.shard) ?? 0;
        break;
      case 'dense':
        dense = Math.max(dense, denseEnd.get(step.shard) ?? 0);
        break;
      case 'layer':
        held += layerSize.get(step.layer) ?? 0;
        break;
      case 'release':
        held -= shardSize.get(step.shard) ?? 0;
    }
    peak = Math.max(peak, held + dense);
  }
  return peak;
}

/** Shards that hold something we need, in the order with the lower peak: as numbered, or layer by layer. */
export function chooseOrder(plan: Schedulable): string[] {
  const needed = new Set([
    ...plan.dense.entries.map(({ shard }) => shard),
    ...plan.layers.flatMap(({ shards }) => shards),
  ]);
  const numbered = plan.shards.map(({ path }) => path).filter((path) => needed.has(path));
  const byLayer = layerOrder(plan, numbered);
  return peakOf({ ...plan, order: byLayer }) < peakOf({ ...plan, order: numbered })
    ? byLayer
    : numbered;
}

/** Always next: the layer that lacks the fewest bytes; the lower layer among equals. */
function layerOrder(plan: Schedulable, numbered: readonly string[]): string[] {
  const size = new Map(plan.shards.map(({ path, size }) => [path, size]));
  const order = new Set<string>();
  const waiting = new Set(plan.layers);
  const lacking = (layer: LayerPlan) => layer.shards.filter((shard) => !order.has(shard));
  while (waiting.size > 0) {
    let best: { layer: LayerPlan; bytes: number } | null = null;
    for (const layer of waiting) {
      const bytes = lacking(layer).reduce((sum, shard) => sum + (size.get(shard) ?? 0), 0);
      if (best === null || bytes < best.bytes) best = { layer, bytes };
    }
    if (best === null) break;
    waiting.delete(best.layer);
    for (const shard of lacking(best.layer)) order.add(shard);
  }
  for (const shard of numbered) order.add(shard);
  return [...order];
}
