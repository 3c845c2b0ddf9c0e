// Events to a view state: the one truth behind the terminal view and the plain lines. Pure.

import type { InstallEvent, PlanSummary, Status, StepId } from './events.js';
import type { KnownAnswer, Receipt } from '../store/receipt.js';
import { sleptText } from '../base/clock.js';
import { advance, EMPTY_METER, type Meter } from './meter.js';

type EventOf<T extends InstallEvent['type']> = Extract<InstallEvent, { type: T }>;
export type Finding = Omit<EventOf<'finding'>, 'type'>;
export type Failure = Omit<EventOf<'failed'>, 'type'>;

export interface StepView {
  step: StepId;
  status: Status | 'pending';
  detail: string | null;
}

export interface ShardView {
  shard: string;
  /** The last thing heard of it. */
  step: 'fetch' | 'dense' | 'release';
  status: Status;
}

export interface BuildView {
  task: EventOf<'build'>['task'];
  status: Status;
  detail: string | null;
}

export interface RetryView {
  item: string;
  attempt: number;
  reason: string;
  /** Milliseconds since the epoch of the next try. */
  nextAt: number;
}

/** A try that failed. */
export interface FailedTry {
  /** Milliseconds since the epoch. */
  at: number;
  item: string;
  attempt: number;
  reason: string;
}

export interface WaitView {
  code: EventOf<'waiting'>['code'];
  reason: string;
  until: string | null;
  since: number;
}

/** A line that will never change again; `id` is its place in the log. */
export interface LogLine {
  id: number;
  tone: 'good' | 'warn' | 'bad' | 'plain';
  text: string;
}

export interface RunView {
  startedAt: number | null;
  plan: PlanSummary | null;
  steps: readonly StepView[];
  findings: readonly Finding[];
  build: readonly BuildView[];
  shards: Readonly<Record<string, ShardView>>;
  packedLayers: readonly number[];
  activeLayers: readonly number[];
  fetch: Meter;
  pack: Meter;
  verify: Meter;
  disk: { usedBytes: number; freeBytes: number; peakBytes: number } | null;
  /** null until something was said of them. */
  limits: { bytesPerSecond: number | null; hours: string | null } | null;
  retry: RetryView | null;
  /** The latest tries that failed, oldest first, and how many there were. */
  failedTries: readonly FailedTry[];
  failedTryCount: number;
  waiting: WaitView | null;
  answers: readonly KnownAnswer[];
  log: readonly LogLine[];
  receipt: Receipt | null;
  failure: Failure | null;
}

/** Of failed tries that are kept. */
const MOST_TRIES = 50;

export const STEP_ORDER: readonly StepId[] = [
  'machine',
  'plan',
  'engine',
  'fetch',
  'pack',
  'finish',
  'service',
  'first-answer',
];

export const EMPTY_RUN: RunView = {
  startedAt: null,
  plan: null,
  steps: STEP_ORDER.map((step) => ({ step, status: 'pending', detail: null })),
  findings: [],
  build: [],
  shards: {},
  packedLayers: [],
  activeLayers: [],
  fetch: EMPTY_METER,
  pack: EMPTY_METER,
  verify: EMPTY_METER,
  disk: null,
  limits: null,
  retry: null,
  failedTries: [],
  failedTryCount: 0,
  waiting: null,
  answers: [],
  log: [],
  receipt: null,
  failure: null,
};

/** `at`: milliseconds since the epoch. */
export function reduce(view: RunView, event: InstallEvent, at: number): RunView {
  const started = view.startedAt === null ? { ...view, startedAt: at } : view;
  const next = apply(started, event, at);
  // Whatever moves again is no longer waiting for its next try.
  return event.type === 'progress' && next.retry?.item === event.item
    ? { ...next, retry: null }
    : next;
}

function apply(view: RunView, event: InstallEvent, at: number): RunView {
  switch (event.type) {
    case 'step':
      return onStep(view, event);
    case 'plan':
      return { ...view, plan: event.plan };
    case 'finding':
      return { ...view, findings: [...view.findings, withoutType(event)] };
    case 'build':
      return { ...view, build: onBuild(view.build, event) };
    case 'shard':
      return onShard(view, event);
    case 'layer':
      return onLayer(view, event);
    case 'progress': {
      const { step, item, done, total, before } = event;
      const meter = advance(view[step], item, done, total, at, before);
      return { ...view, [event.step]: meter };
    }
    case 'limits':
      return { ...view, limits: { bytesPerSecond: event.bytesPerSecond, hours: event.hours } };
    case 'disk': {
      const peakBytes = Math.max(view.disk?.peakBytes ?? 0, event.usedBytes);
      return {
        ...view,
        disk: { usedBytes: event.usedBytes, freeBytes: event.freeBytes, peakBytes },
      };
    }
    case 'retry': {
      const { item, attempt, reason } = event;
      return {
        ...view,
        retry: { item, attempt, reason, nextAt: at + event.delayMs },
        failedTries: [...view.failedTries.slice(1 - MOST_TRIES), { at, item, attempt, reason }],
        failedTryCount: view.failedTryCount + 1,
      };
    }
    case 'waiting': {
      const { code, reason, until } = event;
      return { ...view, waiting: { code, reason, until: until ?? null, since: at } };
    }
    case 'resumed':
      return { ...view, waiting: null, retry: null };
    case 'slept':
      return log(view, 'warn', sleptText(event));
    case 'answer':
      return { ...view, answers: [...view.answers, event.answer] };
    case 'notice':
      return log(view, 'plain', event.message);
    case 'finished':
      return { ...view, receipt: event.receipt, waiting: null, retry: null };
    case 'failed':
      return { ...view, failure: withoutType(event), waiting: null };
  }
}

function onStep(view: RunView, event: EventOf<'step'>): RunView {
  const steps = view.steps.map((old) =>
    old.step === event.step
      ? { step: old.step, status: event.status, detail: event.detail ?? old.detail }
      : old,
  );
  return { ...view, steps };
}

function onBuild(build: readonly BuildView[], event: EventOf<'build'>): BuildView[] {
  const task = { task: event.task, status: event.status, detail: event.detail ?? null };
  return [...build.filter((old) => old.task !== event.task), task];
}

function onShard(view: RunView, event: EventOf<'shard'>): RunView {
  const shards = { ...view.shards, [event.shard]: withoutType(event) };
  const next = { ...view, shards };
  if (event.step !== 'fetch') return next;
  if (event.status === 'done') return log(next, 'good', `${event.shard} verified`);
  if (event.status === 'skipped') return log(next, 'good', `${event.shard} already here`);
  return next;
}

function onLayer(view: RunView, event: EventOf<'layer'>): RunView {
  const others = view.activeLayers.filter((layer) => layer !== event.layer);
  if (event.status === 'started') return { ...view, activeLayers: [...others, event.layer] };
  const ended = event.status === 'done' || event.status === 'skipped';
  return {
    ...view,
    activeLayers: others,
    // A layer may be told of twice, as one that was there and as one that was made anew.
    packedLayers:
      ended && !view.packedLayers.includes(event.layer)
        ? [...view.packedLayers, event.layer]
        : view.packedLayers,
  };
}

function log(view: RunView, tone: LogLine['tone'], text: string): RunView {
  return { ...view, log: [...view.log, { id: view.log.length, tone, text }] };
}

function withoutType<T extends { type: string }>(event: T): Omit<T, 'type'> {
  return Object.fromEntries(Object.entries(event).filter(([key]) => key !== 'type')) as Omit<
    T,
    'type'
  >;
}
