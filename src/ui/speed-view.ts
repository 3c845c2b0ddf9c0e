// What `flashmoe bench` measured, as lines.

import { formatBytes } from '../base/format.js';
import type { ExpertMode } from '../models/memory-plan.js';
import { percent } from './bar.js';
import type { Style } from './style.js';
import { tableLines } from './table.js';

/** Of one pass, as engine/speed.ts measures it: what is shown of it. */
export interface PassSpeed {
  prefillRate: number;
  decodeRate: number;
  prefillExpertBytes: number;
  decodeExpertBytes: number;
  hitRate: number | null;
  waitShare: number;
  decodeExpertHits: number;
  decodeReadBytes: number;
  decodeWaits: number;
}

export interface SpeedReport {
  model: string;
  quant: string;
  backend: string;
  isa: string;
  cpu: string;
  threads: number;
  expertsPerToken: number;
  prompt: number;
  decode: number;
  /** Dense weights, fixed state and cache of the measured context. */
  denseBytes: number;
  stateBytes: number;
  peakResidentBytes: number;
  /** Where experts were, by the memory plan, and what of memory is theirs. */
  experts: { mode: ExpertMode; bytes: number };
  passes: { name: 'cold' | 'as found' | 'warm'; speed: PassSpeed }[];
}

export function speedText(report: SpeedReport, style: Style, width: number): string {
  const { prompt, decode, threads } = report;
  const [header = '', ...rows] = tableLines(
    [
      { title: 'CACHE' },
      { title: 'PREFILL tok/s', align: 'right' },
      { title: 'DECODE tok/s', align: 'right' },
      { title: 'EXPERTS/TOKEN', align: 'right' },
      { title: 'THERE', align: 'right' },
      { title: 'READ', align: 'right' },
      { title: 'NO DISK', align: 'right' },
      { title: 'WAITS', align: 'right' },
      { title: 'WAITING', align: 'right' },
    ],
    report.passes.map(({ name, speed }) => [
      name,
      rate(speed.prefillRate),
      rate(speed.decodeRate),
      formatBytes(speed.decodeExpertBytes),
      percent(speed.decodeExpertHits),
      formatBytes(speed.decodeReadBytes),
      speed.hitRate === null ? 'unknown' : percent(speed.hitRate),
      speed.decodeWaits.toFixed(1),
      percent(speed.waitShare),
    ]),
    width,
  );
  const shape = `prompt ${prompt}, ${decode} decoded, ${report.expertsPerToken} experts a token`;
  return [
    `${report.model}, ${report.quant}, ${shape}`,
    `${report.cpu}, ${report.backend} ${report.isa}, ${threads} ${threads === 1 ? 'thread' : 'threads'}`,
    '',
    style.dim(header),
    ...rows,
    '',
    `peak memory ${formatBytes(report.peakResidentBytes)}, of it dense weights ${formatBytes(report.denseBytes)}, state ${formatBytes(report.stateBytes)}`,
    `experts ${report.experts.mode}, ${formatBytes(report.experts.bytes)} of memory`,
    style.dim(
      'THERE: share that was in memory; READ: bytes a token, from disk or page cache; NO DISK: share of experts’ bytes that no disk gave',
    ),
    style.dim('WAITS: times a token stood still for an expert; WAITING: share of decoding'),
  ].join('\n');
}

function rate(value: number): string {
  return value.toFixed(value < 10 ? 2 : 1);
}
