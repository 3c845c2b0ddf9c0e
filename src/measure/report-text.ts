// A machine's report as Markdown: what its owner pastes, and rows of the table of all machines. Pure.

import { formatBytes } from '../base/format.js';
import {
  isNotRun,
  type MachineReport,
  type ModelReport,
  type ModelSpeed,
  type NotRun,
} from './machine-report.js';

/** Cells of a row; a bar in a name would end its cell. */
const rowOf = (cells: readonly string[]): string =>
  `| ${cells.map((cell) => cell.replaceAll('|', '/').trim()).join(' | ')} |`;

const tableOf = (titles: readonly string[], rows: readonly (readonly string[])[]): string[] => [
  rowOf(titles),
  `|${titles.map(() => '---').join('|')}|`,
  ...rows.map(rowOf),
];

const perSecond = (value: number): string => value.toFixed(value < 10 ? 2 : 1);
const share = (value: number | null): string =>
  value === null ? '?' : `${(100 * value).toFixed(0)} %`;
const gigabytes = (bytes: number): string => (bytes / 1e9).toFixed(1);
const micro = (seconds: number): string => (seconds * 1e6).toFixed(0);

/** Section by section; what was not run says why. */
export function reportMarkdown(report: MachineReport): string {
  const { machine, kernels, wired, reads, models, selfTest } = report;
  const gpu = machine.gpu === null ? 'no GPU' : `GPU ${machine.gpu}`;
  const lines = [
    `flashmoe ${report.version}, ${report.day}: ${machine.cpu}, ${String(machine.cores)} cores, ${formatBytes(machine.memoryBytes)}, ${gpu}, ${machine.platform} ${machine.release}`,
    '',
    ...Object.entries(selfTest).map(([name, test]) =>
      isNotRun(test)
        ? `* operations of ${name}: not run, ${test.notRun}`
        : `* operations of ${name}: ${String(test.agreed)} of ${String(test.of)} agree with their references`,
    ),
    '',
    ...kernelLines(kernels),
    '',
    ...section('wired memory', wired, (growth) => [
      `* wired memory while ${formatBytes(growth.fileBytes)} are read by the GPU: mapped file +${formatBytes(Math.max(0, growth.mappedBytes))}, allocated +${formatBytes(Math.max(0, growth.allocatedBytes))}`,
    ]),
    '',
    ...section('reads', reads, ({ expertBytes, rates }) =>
      tableOf(
        [`reads of ${formatBytes(expertBytes)}`, 'depth', 'GB/s'],
        rates.map(({ way, depth, bytesPerSecond }) => [
          way,
          String(depth),
          (bytesPerSecond / 1e9).toFixed(2),
        ]),
      ),
    ),
    '',
    ...section('models', models, (speeds) => speeds.flatMap(speedLines)),
  ];
  return `${lines.join('\n').trimEnd()}\n`;
}

function section<Value extends object>(
  name: string,
  value: Value | NotRun,
  lines: (value: Value) => string[],
): string[] {
  return isNotRun(value) ? [`* ${name}: not run, ${value.notRun}`] : lines(value);
}

function kernelLines({ cpu, metal }: MachineReport['kernels']): string[] {
  const reasons = Object.entries({ cpu, metal }).flatMap(([name, rates]) =>
    isNotRun(rates) ? [`* speed of ${name}: not run, ${rates.notRun}`] : [],
  );
  const both = [cpu, metal].filter((rates) => !isNotRun(rates));
  const [first] = both;
  if (first === undefined || isNotRun(first)) return reasons;
  const names = first.operations.map(({ name }) => name);
  const column = (rates: MachineReport['kernels']['cpu'], name: string): string[] => {
    const found = isNotRun(rates) ? undefined : rates.operations.find((one) => one.name === name);
    return found === undefined
      ? ['', '']
      : [micro(found.seconds), (found.bytes / found.seconds / 1e9).toFixed(1)];
  };
  const gap = isNotRun(metal)
    ? []
    : [
        `* a wait for the GPU takes ${micro(metal.waitSeconds)} µs; between operations of a chain it stands still for ${gaps(metal)} of the time`,
      ];
  return [
    ...tableOf(
      ['operation', 'CPU, µs', 'GB/s', 'GPU, µs', 'GB/s'],
      names.map((name) => [name, ...column(cpu, name), ...column(metal, name)]),
    ),
    ...reasons,
    ...gap,
  ];
}

function gaps({ operations }: Exclude<MachineReport['kernels']['metal'], NotRun>): string {
  const total = operations.reduce((sum, { seconds }) => sum + seconds, 0);
  const atWork = operations.reduce((sum, { deviceSeconds }) => sum + deviceSeconds, 0);
  return share(Math.max(0, 1 - atWork / total));
}

function speedLines({ model, quant, prompt, decode, backend, runs }: ModelSpeed): string[] {
  return tableOf(
    [
      `${model} ${quant} on ${backend}`,
      'experts',
      `prefill of ${String(prompt)}, tok/s`,
      `decode of ${String(decode)}, tok/s`,
      'hits',
      'waits for experts',
      'waits for the GPU',
      'GPU at work',
    ],
    runs.map((run) => [
      run.cache,
      run.experts,
      perSecond(run.prefillRate),
      perSecond(run.decodeRate),
      share(run.hitRate),
      share(run.waitShare),
      `${run.deviceWaitsPerToken.toFixed(0)} a token, ${share(run.deviceWaitShare)}`,
      share(run.deviceBusyShare),
    ]),
  );
}

const MACHINE_COLUMNS = [
  'machine',
  'memory',
  'system',
  'flashmoe',
  'day',
  'GPU agrees',
  'GPU 4-bit lm_head GB/s',
  'CPU 4-bit lm_head GB/s',
  'wait µs',
  'wired: mapped / allocated',
  'reads GB/s, page cache / direct',
  'tiny tok/s',
] as const;

const MODEL_COLUMNS = [
  'machine',
  'memory',
  'model',
  'width',
  'flashmoe',
  'day',
  'backend',
  'experts a token',
  'prefill tok/s, cold / warm',
  'decode tok/s, cold / warm',
  'decode tok/s without kept experts',
  'hits warm',
] as const;

/** The lines that head the two tables of docs/machines.md. */
export const MACHINE_TITLES = rowOf(MACHINE_COLUMNS);
export const MODEL_TITLES = rowOf(MODEL_COLUMNS);

/** Rows for the two tables. */
export function machineRows(report: MachineReport): { machine: string; models: string[] } {
  const { machine, version, day, kernels, wired, reads, selfTest, models } = report;
  const lmHead = (rates: MachineReport['kernels']['cpu']): string => {
    const found = isNotRun(rates)
      ? undefined
      : rates.operations.find(({ name }) => name.startsWith('lm_head'));
    return found === undefined ? '' : (found.bytes / found.seconds / 1e9).toFixed(1);
  };
  const best = (way: string): string => {
    if (isNotRun(reads)) return '';
    const rates = reads.rates
      .filter((rate) => rate.way === way)
      .map(({ bytesPerSecond }) => bytesPerSecond);
    return rates.length === 0 ? '' : (Math.max(...rates) / 1e9).toFixed(2);
  };
  const speeds = isNotRun(models) ? [] : models;
  const tiny = speeds.find(({ model }) => model === 'tiny')?.runs.at(-1);
  const { metal } = selfTest;
  return {
    machine: rowOf([
      chipOf(machine),
      gigabytes(machine.memoryBytes),
      `${machine.platform} ${machine.release}`,
      version,
      day,
      isNotRun(metal) ? 'not run' : `${String(metal.agreed)} of ${String(metal.of)}`,
      lmHead(kernels.metal),
      lmHead(kernels.cpu),
      isNotRun(kernels.metal) ? '' : micro(kernels.metal.waitSeconds),
      isNotRun(wired)
        ? ''
        : `${formatBytes(Math.max(0, wired.mappedBytes))} / ${formatBytes(Math.max(0, wired.allocatedBytes))}`,
      isNotRun(reads) ? '' : `${best('page cache')} / ${best('direct')}`,
      tiny === undefined ? '' : perSecond(tiny.decodeRate),
    ]),
    models: speeds
      .filter(({ model }) => model !== 'tiny')
      .map((speed) => speedRow({ ...report, speed })),
  };
}

const chipOf = ({ cpu, gpu }: MachineReport['machine']): string =>
  gpu === null || gpu === cpu ? cpu : `${cpu}, ${gpu}`;

/** A model's row: cold is the first run with experts kept, warm the last. */
export function speedRow({
  machine,
  version,
  day,
  speed,
}: Pick<ModelReport, 'machine' | 'version' | 'day' | 'speed'>): string {
  const kept = speed.runs.filter(({ experts }) => experts === 'kept');
  const [first, last] = [kept[0], kept.at(-1)];
  const without = speed.runs.findLast(({ experts }) => experts === 'not kept');
  const pair = (of: (run: ModelSpeed['runs'][number]) => number): string =>
    [first, last].map((run) => (run === undefined ? '' : perSecond(of(run)))).join(' / ');
  return rowOf([
    chipOf(machine),
    gigabytes(machine.memoryBytes),
    speed.model,
    speed.quant,
    version,
    day,
    speed.backend,
    String(speed.expertsPerToken),
    pair(({ prefillRate }) => prefillRate),
    pair(({ decodeRate }) => decodeRate),
    without === undefined ? '' : perSecond(without.decodeRate),
    share(last?.hitRate ?? null),
  ]);
}
