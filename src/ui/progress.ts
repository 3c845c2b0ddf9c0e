// Figures both views of a run show, derived from the view state.

import { rate, stalledSeconds, timeLeft } from './meter.js';
import type { RunView, ShardView } from './reduce.js';

export interface StageFigures {
  /** 0 to 1. */
  fraction: number;
  doneBytes: number;
  totalBytes: number;
  bytesPerSecond: number | null;
  secondsLeft: { low: number; high: number } | null;
  stalledSeconds: number;
}

/** Bytes from the network: what was here before counts as done, but not as speed. */
export function fetchFigures(view: RunView, now: number): StageFigures {
  const total = view.plan?.downloadBytes ?? view.fetch.total;
  const step = view.steps.find((each) => each.step === 'fetch')?.status;
  // Small files come without progress of their own, so the sum alone would end short of the total.
  const settled = step === 'done' || step === 'skipped';
  const here = (view.plan?.doneBytes ?? 0) + view.fetch.done;
  const done = settled ? total : Math.min(total, here);
  const finished = total > 0 && done >= total;
  return {
    fraction: total === 0 ? 0 : done / total,
    doneBytes: done,
    totalBytes: total,
    bytesPerSecond: finished ? null : rate(view.fetch, now),
    secondsLeft: timeLeft(view.fetch, total - done, now),
    stalledSeconds: finished || view.waiting !== null ? 0 : stalledSeconds(view.fetch, now),
  };
}

export interface PackFigures {
  layersDone: number;
  layers: number;
  /** 0 to 1; layers in work count by their bytes. */
  fraction: number;
  bytesPerSecond: number | null;
}

export function packFigures(view: RunView, now: number): PackFigures {
  const layers = view.plan?.layers ?? 0;
  const layersDone = view.packedLayers.length;
  let inWork = 0;
  if (view.activeLayers.length > 0) {
    for (const item of Object.values(view.pack.items)) {
      if (item.total > 0 && item.done < item.total) inWork += item.done / item.total;
    }
  }
  const done = Math.min(layers, layersDone + Math.min(inWork, view.activeLayers.length));
  return {
    layersDone,
    layers,
    fraction: layers === 0 ? 0 : done / layers,
    bytesPerSecond: layersDone >= layers ? null : rate(view.pack, now),
  };
}

export function shardsFetched(view: RunView): number {
  return Object.values(view.shards).filter(isFetched).length;
}

function isFetched(shard: ShardView): boolean {
  return shard.step !== 'fetch' || shard.status === 'done' || shard.status === 'skipped';
}

export interface ActiveShard {
  shard: string;
  done: number;
  total: number;
}

/** Shards on their way, in the order they were begun. */
export function activeShards(view: RunView): ActiveShard[] {
  return Object.values(view.shards)
    .filter((shard) => shard.step === 'fetch' && shard.status === 'started')
    .map(({ shard }) => ({
      shard,
      done: view.fetch.items[shard]?.done ?? 0,
      total: view.fetch.items[shard]?.total ?? 0,
    }));
}

/** `item: reason`, where the reason doesn't begin with the item itself. */
export function retryText({ item, reason }: { item: string; reason: string }): string {
  return reason.startsWith(item) ? reason : `${item}: ${reason}`;
}
