// What is on disk and what is going on, as lines.

import { formatBytes, formatBytesBoth, formatDurationRange, formatRate } from '../base/format.js';
import { percent } from './bar.js';
import { clockOf } from '../base/clock.js';
import type { ModelStateName } from '../store/model-state.js';
import type { Style } from './style.js';
import { tableLines } from './table.js';

/** One folder of the models, as `flashmoe status` tells it. */
export interface ModelStatus {
  id: string;
  model: string | null;
  quant: string | null;
  state: ModelStateName;
  /** The command that leads on, to be pasted. */
  next: string;
  /** On disk when ready; else of the download, what is here and all of it. */
  bytes: number | null;
  doneBytes: number | null;
  totalBytes: number | null;
  commit: string | null;
  /** Of the process at work on it. */
  pid: number | null;
  /** ISO 8601. */
  since: string | null;
  /** Of a running setup: over the last 10 s, what is left, why it waits, and ISO 8601 of its next try. */
  bytesPerSecond: number | null;
  secondsLeft: { low: number; high: number } | null;
  waiting: string | null;
  nextTry: string | null;
  /** Why it is so; null where the state says it all. */
  why: string | null;
  detail: string | null;
  /** Files of it that the user named; those of the repository are not told. */
  userFiles: { path: string; sha256: string; option: string }[];
}

export interface HomeStatus {
  home: string;
  freeBytes: number;
  models: ModelStatus[];
  defaultModel: string | null;
  /** What the engine computes on, and who decided: settings.json or the machine. */
  backend: { name: string; problem: string | null; by: 'settings' | 'machine' };
}

export function statusText(status: HomeStatus, style: Style, width: number): string {
  const { name, by, problem } = status.backend;
  const chosen = by === 'settings' ? ' (settings.json)' : problem === null ? '' : ` (${problem})`;
  const head = `${status.home}, ${formatBytesBoth(status.freeBytes)} free, backend ${name}${chosen}`;
  if (status.models.length === 0) return `${head}\n\nno model yet; begin with: flashmoe setup`;
  const [header = '', ...rows] = tableLines(
    [
      { title: 'MODEL', flexible: true },
      { title: 'STATE' },
      { title: 'SIZE', align: 'right' },
      { title: 'DETAIL', flexible: true },
    ],
    status.models.map((model) => [
      model.id === status.defaultModel ? `${model.id} *` : model.id,
      model.state,
      model.bytes === null ? '' : formatBytes(model.bytes),
      detailOf(model),
    ]),
    width,
  );
  const foot =
    status.defaultModel === null ? [] : ['', style.dim('* answers when no model is named')];
  const own = status.models.flatMap(({ id, userFiles }) =>
    userFiles.map(
      ({ path, sha256, option }) => `${id}: ${path} is yours (${option}), sha256 ${sha256}`,
    ),
  );
  const told = own.length === 0 ? [] : ['', ...own];
  return [head, '', style.dim(header), ...rows, ...told, ...foot].join('\n');
}

function detailOf(model: ModelStatus): string {
  if (model.detail !== null) return model.detail;
  if (model.state === 'ready') return `${model.quant ?? ''} @ ${model.commit?.slice(0, 12) ?? ''}`;
  if (model.bytes !== null) return `${model.why ?? ''}: ${model.next}`;
  const { doneBytes, totalBytes, waiting, nextTry, bytesPerSecond, secondsLeft } = model;
  const parts = [
    // What it waits for matters more than how far it is.
    ...(waiting === null ? [] : [`waiting: ${waiting}`]),
    ...(nextTry === null ? [] : [`next try ${clockOf(nextTry)}`]),
    ...(doneBytes === null || totalBytes === null || totalBytes === 0
      ? []
      : [
          `${formatBytes(doneBytes)} of ${formatBytes(totalBytes)} (${percent(doneBytes / totalBytes)})`,
        ]),
    ...(bytesPerSecond === null || waiting !== null ? [] : [formatRate(bytesPerSecond)]),
    ...(secondsLeft === null || waiting !== null
      ? []
      : [`${formatDurationRange(secondsLeft.low, secondsLeft.high)} left`]),
    ...(model.pid === null ? [] : [`process ${model.pid}`]),
    ...(model.since === null ? [] : [`since ${clockOf(model.since)}`]),
  ];
  return parts.join(', ');
}
