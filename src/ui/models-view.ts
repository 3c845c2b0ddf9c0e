// The catalogue with this machine's verdict, as a table.

import { formatBytes } from '../base/format.js';
import type { ModelChoice } from '../application/setup-runner.js';
import { licenceWords } from '../models/catalog-entry.js';
import { tableLines, type Column } from './table.js';

const LEVEL = { good: 'good', slow: 'slow', no: 'no', small: 'fits in memory' } as const;

interface ModelColumn extends Column {
  /** Left out below this width. */
  from: number;
  cell: (model: ModelChoice) => string;
}

const COLUMNS: ModelColumn[] = [
  { title: 'MODEL', flexible: true, from: 0, cell: (model) => model.id },
  { title: 'DOWNLOAD', align: 'right', from: 0, cell: (model) => size(model.downloadBytes) },
  { title: '4-BIT', align: 'right', from: 90, cell: (model) => sizeAt(model, '4bit') },
  { title: '2-BIT', align: 'right', from: 66, cell: (model) => sizeAt(model, '2bit') },
  {
    title: 'HERE',
    from: 0,
    cell: (model) => (model.isBundled ? 'try it first' : LEVEL[model.verdict.level]),
  },
  {
    title: 'INSTALLED',
    from: 66,
    cell: (model) => model.installed.map((quant) => quant.replace('bit', '-bit')).join(', '),
  },
];

/** Header first; no line longer than `width`. */
export function modelTable(models: readonly ModelChoice[], width: number): string[] {
  const columns = COLUMNS.filter(({ from }) => width >= from);
  return tableLines(
    columns,
    models.map((model) => columns.map(({ cell }) => cell(model))),
    width,
  );
}

/** What it is good for, then what it takes, what it gives here, and how that is known: parts of one line. */
export function modelFacts(model: ModelChoice): string {
  const disk = model.finalBytes.find(({ quant }) => quant === '4bit')?.bytes ?? null;
  return [
    model.goodFor,
    `context ${model.contextLength.toLocaleString('en-US')} tokens`,
    licenceWords(model.license),
    `${size(disk)} on disk`,
    `${formatBytes(model.memoryBytes)} of memory`,
    speedText(model),
  ].join('; ');
}

export function speedText({ speed, verdict: { level, text } }: ModelChoice): string {
  if (level === 'no') return `does not run here: ${text}`;
  if (speed === null) return 'speed here not known before it was tried';
  const digits = (value: number): string => value.toFixed(value < 10 ? 1 : 0);
  const [low, high] = [digits(speed.low), digits(speed.high)];
  return `${low === high ? low : `${low} to ${high}`} tokens/s, ${speed.source}`;
}

function sizeAt(model: ModelChoice, quant: '4bit' | '2bit'): string {
  return size(model.finalBytes.find((each) => each.quant === quant)?.bytes ?? null);
}

function size(bytes: number | null): string {
  return bytes === null ? '?' : formatBytes(bytes);
}
