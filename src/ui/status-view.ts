// What is on disk and what is going on, as lines.

import stringWidth from 'fast-string-width';
import { formatBytes, formatBytesBoth, formatDurationRange, formatRate } from '../base/format.js';
import { percent } from './bar.js';
import { clockOf } from '../base/clock.js';
import type { ModelStateName } from '../store/model-state.js';
import type { Style } from './style.js';
import { tableLines, wrapText } from './table.js';

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

/** @param width of the window; null: nobody looks at it, and lines are as long as they are */
export function statusText(status: HomeStatus, style: Style, width: number | null): string {
  const { name, by, problem } = status.backend;
  const chosen = by === 'settings' ? ' (settings.json)' : problem === null ? '' : ` (${problem})`;
  const head = `${status.home}, ${formatBytesBoth(status.freeBytes)} free, backend ${name}${chosen}`;
  if (status.models.length === 0) return `${head}\n\nno model yet; begin with: flashmoe setup`;
  const table = statusRows(status, width ?? Infinity);
  const [header = '', ...rows] = table;
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

/** What would not fit its column stands below its row, whole. */
function statusRows({ models, defaultModel }: HomeStatus, width: number): string[] {
  const columns = [
    { title: 'MODEL' },
    { title: 'STATE' },
    { title: 'SIZE', align: 'right' as const },
    { title: 'DETAIL' },
  ];
  const cells = models.map((model) => [
    model.id === defaultModel ? `${model.id} *` : model.id,
    model.state,
    sizeOf(model),
    detailOf(model),
  ]);
  const whole = tableLines(columns, cells, Infinity);
  if (Math.max(...whole.map((line) => stringWidth(line))) <= width) return whole;
  const narrow = columns.map((column, index) => ({ ...column, flexible: index === 0 }));
  const [header = '', ...rows] = tableLines(narrow.slice(0, -1), cells, width);
  const below = cells.map(([, , , detail = '']) =>
    detail === '' ? [] : wrapText(detail, width - 2).map((line) => `  ${line}`),
  );
  return [header, ...rows.flatMap((row, index) => [row, ...(below[index] ?? [])])];
}

function sizeOf({ bytes, doneBytes }: ModelStatus): string {
  const size = bytes ?? doneBytes;
  return size === null ? '' : formatBytes(size);
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
