// Figures both views of a run show, derived from the view state.

import { formatRate } from '../base/format.js';
import { openUntil, parseHours, type Hours } from '../base/hours.js';
import { rate, stalledSeconds, timeLeft } from './meter.js';
import type { RunView, ShardView } from './run-view.js';

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
  const here = (view.plan?.doneBytes ?? 0) + view.fetch.done - view.fetch.before;
  const done = settled ? total : Math.min(total, here);
  const finished = total > 0 && done >= total;
  return {
    fraction: total === 0 ? 0 : done / total,
    doneBytes: done,
    totalBytes: total,
    bytesPerSecond: finished ? null : rate(view.fetch, now),
    secondsLeft: view.waiting === null ? secondsLeft(view, total - done, now) : null,
    stalledSeconds: finished || view.waiting !== null ? 0 : stalledSeconds(view.fetch, now),
  };
}

/** By the clock on the wall: hours in which the line is closed count, too. */
function secondsLeft(view: RunView, remaining: number, now: number): StageFigures['secondsLeft'] {
  const left = timeLeft(view.fetch, remaining, now, view.limits?.bytesPerSecond ?? null);
  const hours = hoursOf(view);
  if (left === null || hours === null) return left;
  const until = (seconds: number): number => (openUntil(hours, now, seconds * 1000) - now) / 1000;
  return { low: until(left.low), high: until(left.high) };
}

function hoursOf({ limits }: RunView): Hours | null {
  const text = limits?.hours ?? null;
  return text === null ? null : parseHours(text);
}

/** `at most 20 MB/s, 23:00-07:00 only`; null without limits. */
export function limitText(view: RunView): string | null {
  const { bytesPerSecond = null, hours = null } = view.limits ?? {};
  const parts = [
    ...(bytesPerSecond === null ? [] : [`at most ${formatRate(bytesPerSecond)}`]),
    ...(hours === null ? [] : [`${hours} only`]),
  ];
  return parts.length === 0 ? null : parts.join(', ');
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
