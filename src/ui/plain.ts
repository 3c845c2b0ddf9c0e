// A run as plain lines: every change of state with its reason, progress every ten seconds and per tenth, and no ten seconds
// without a line, whatever is waited for.
// The view of logs, pipes and CI; also what `setup` in the background leaves to read.

import { formatBytes, formatDuration, formatDurationRange, formatRate } from '../base/format.js';
import type { InstallEvent } from '../jobs/events.js';
import { percent } from './bar.js';
import { clockOf, clockWithSeconds, sleptText } from '../base/clock.js';
import { planText } from './plan-view.js';
import {
  fetchFigures,
  limitText,
  packFigures,
  retryText,
  shardsFetched,
} from '../jobs/progress.js';
import { EMPTY_RUN, reduce, type RunView } from '../jobs/run-view.js';
import { answerLine } from './receipt-view.js';
import type { Style } from './style.js';

export interface PlainOptions {
  write(line: string): void;
  now(): number;
  style: Style;
}

/** Longer without a line, and people ask whether it hangs. */
const PROGRESS_MS = 10_000;

export interface PlainSink {
  (event: InstallEvent): void;
  /** To be called about every second: says what is under way where nothing was said for long. */
  tick(): void;
}

/** A sink for events. `finished` and `failed` are left to the caller: one is the result, one the error. */
export function plainSink(options: PlainOptions): PlainSink {
  let view = EMPTY_RUN;
  let saidAt: number | null = null;
  const progress = new Map<string, { at: number; tenth: number }>();

  const dueProgress = (step: string, fraction: number, now: number): boolean => {
    const last = progress.get(step);
    const tenth = Math.floor(fraction * 10 + 1e-9);
    if (last === undefined) {
      progress.set(step, { at: now, tenth });
      return false;
    }
    // Layers announce themselves when they are done; between them only the time counts.
    const newTenth = step !== 'pack' && tenth > last.tenth;
    if (!newTenth && now - last.at < PROGRESS_MS) return false;
    progress.set(step, { at: now, tenth });
    return true;
  };

  const say = (lines: readonly string[], now: number): void => {
    for (const line of lines) options.write(`${clockWithSeconds(now)} ${line}`);
    if (lines.length > 0) saidAt = now;
  };

  const take = (event: InstallEvent): void => {
    const now = options.now();
    view = reduce(view, event, now);
    const lines =
      event.type === 'progress'
        ? progressLines(event.step, view, now, dueProgress)
        : linesOf(event, view, options.style);
    say(lines, now);
  };
  const tick = (): void => {
    const now = options.now();
    if (saidAt !== null && now - saidAt >= PROGRESS_MS) say(underWay(view, now), now);
  };
  return Object.assign(take, { tick });
}

/** What a run is at that has said nothing of itself for a while. */
function underWay(view: RunView, now: number): string[] {
  const { waiting, retry } = view;
  if (waiting !== null) {
    const until = waiting.until === null ? '' : `, next try ${clockOf(waiting.until)}`;
    const since = formatDuration((now - waiting.since) / 1000);
    return [`waiting: ${waiting.reason}${until}; for ${since} now`];
  }
  if (retry !== null && retry.nextAt > now) {
    return [`${retryText(retry)}; next try in ${formatDuration((retry.nextAt - now) / 1000)}`];
  }
  const step = view.steps.findLast(({ status }) => status === 'started')?.step;
  if (step === undefined) return [];
  if (step !== 'fetch' && step !== 'pack') return [`${step}: going on`];
  return progressLines(step, view, now, () => true);
}

type Due = (step: string, fraction: number, now: number) => boolean;

function progressLines(
  step: 'fetch' | 'pack' | 'verify',
  view: RunView,
  now: number,
  due: Due,
): string[] {
  if (step === 'fetch') {
    const { fraction, doneBytes, totalBytes, bytesPerSecond, secondsLeft } = fetchFigures(
      view,
      now,
    );
    if (!due(step, fraction, now)) return [];
    const parts = [
      `${formatBytes(doneBytes)} of ${formatBytes(totalBytes)} (${percent(fraction)})`,
      ...(bytesPerSecond === null ? [] : [formatRate(bytesPerSecond)]),
      ...(secondsLeft === null || fraction >= 1
        ? []
        : [`${formatDurationRange(secondsLeft.low, secondsLeft.high)} left`]),
      ...limitParts(view),
      ...(view.disk === null ? [] : [`${formatBytes(view.disk.freeBytes)} free`]),
    ];
    return [`fetch: ${parts.join(', ')}`];
  }
  if (step === 'pack') {
    const { fraction, layersDone, layers } = packFigures(view, now);
    if (!due(step, fraction, now)) return [];
    return [`pack: ${layersDone} of ${layers} layers (${percent(fraction)})`];
  }
  const { done, total } = view.verify;
  const fraction = total === 0 ? 0 : done / total;
  if (!due(step, fraction, now)) return [];
  return [`verify: ${formatBytes(done)} of ${formatBytes(total)} (${percent(fraction)})`];
}

function limitParts(view: RunView): string[] {
  const limit = limitText(view);
  return limit === null ? [] : [limit];
}

function linesOf(
  event: Exclude<InstallEvent, { type: 'progress' }>,
  view: RunView,
  style: Style,
): string[] {
  switch (event.type) {
    case 'step':
      return [`${event.step}: ${event.status}${event.detail ? `, ${event.detail}` : ''}`];
    case 'plan':
      return ['plan:', ...planText(event.plan).split('\n')];
    case 'finding':
      return [
        `machine: ${event.severity} ${event.title}`,
        ...(event.hint === undefined ? [] : [`  hint: ${event.hint}`]),
      ];
    case 'build':
      return [`engine: ${event.task} ${event.status}${event.detail ? `, ${event.detail}` : ''}`];
    case 'shard':
      return [shardLine(event, view)];
    case 'layer':
      return event.status === 'started' ? [] : [layerLine(event, view)];
    case 'retry':
      return [
        `${retryText(event)}; try ${event.attempt} in ${formatDuration(event.delayMs / 1000)}`,
      ];
    case 'waiting':
      return [`waiting: ${event.reason}${event.until ? `, next try ${clockOf(event.until)}` : ''}`];
    case 'resumed':
      return ['going on'];
    case 'limits':
      return [`limits: ${limitText(view) ?? 'none'}`];
    case 'slept':
      return [sleptText(event)];
    case 'answer':
      return [`answer: ${answerLine(event.answer, style, 200)}`];
    case 'notice':
      return [event.message];
    case 'disk':
    case 'finished':
    case 'failed':
      return [];
  }
}

function shardLine(event: Extract<InstallEvent, { type: 'shard' }>, view: RunView): string {
  const of = `${shardsFetched(view)} of ${view.plan?.shards ?? '?'}`;
  switch (event.step) {
    case 'fetch':
      if (event.status === 'done') return `fetch: ${event.shard} verified (${of})`;
      if (event.status === 'skipped') return `fetch: ${event.shard} already here (${of})`;
      return `fetch: ${event.shard} ${event.status}`;
    case 'dense':
      return `pack: dense tensors of ${event.shard} ${event.status}`;
    case 'release':
      return `pack: ${event.shard} no longer needed, removal ${event.status}`;
  }
}

function layerLine(event: Extract<InstallEvent, { type: 'layer' }>, view: RunView): string {
  const of = `${view.packedLayers.length} of ${view.plan?.layers ?? '?'}`;
  const what = event.status === 'skipped' ? 'already here' : event.status;
  return `pack: ${event.file} ${what} (${of})`;
}
