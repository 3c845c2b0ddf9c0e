// The plan as a contract: exact bytes, the most the disk will hold at once, and a time range.

import { formatBytes, formatBytesBoth, formatDurationRange, formatExact } from '../base/format.js';
import type { PlanSummary } from '../jobs/events.js';
import type { Quant } from '../models/quant.js';
import { pairLines } from './table.js';

/** Pairs of the contract; `PlanSummary` in words, nothing left out that the user agrees to. */
export function planPairs(plan: PlanSummary): [string, string][] {
  const rest = plan.downloadBytes - plan.doneBytes;
  return [
    ['model', `${plan.model} (${expertWords(plan)})`],
    ...calibrationRow(plan),
    ['source', `${plan.repo} @ ${plan.commit.slice(0, 12)}`],
    ['directory', plan.directory],
    plan.madeOf === undefined
      ? ['download', `${exact(plan.downloadBytes)} in ${count(plan.shards, 'shard')}`]
      : ['made of', `${plan.madeOf}; nothing is fetched`],
    ...(plan.doneBytes > 0
      ? ([['already here', `${formatBytes(plan.doneBytes)}, ${formatBytes(rest)} to go`]] as [
          string,
          string,
        ][])
      : []),
    ['disk at most', exact(plan.peakBytes)],
    ['disk at the end', `${exact(plan.finalBytes)} in ${count(plan.layers, 'layer file')}`],
    ...sourceRow(plan),
    ...(plan.neededBytes === undefined
      ? []
      : ([['free space needed', exact(plan.neededBytes)]] as [string, string][])),
    ['free now', formatBytesBoth(plan.freeBytes)],
    ...(plan.madeOf === undefined ? ([['time', planTime(plan)]] as [string, string][]) : []),
  ];
}

function calibrationRow({ calibrationTokens: tokens }: PlanSummary): [string, string][] {
  if (tokens === undefined) return [];
  return [['errors', `weighed by what ${count(tokens, 'token')} of a calibration used`]];
}

/** The index is counted with the room that it may need. */
function sourceRow({ sourceBytes }: PlanSummary): [string, string][] {
  if (sourceBytes === undefined) return [];
  return [['of that, source', `at most ${formatBytesBoth(sourceBytes)}, kept in source/`]];
}

/** Blocks of a GGUF file by their names, else a width. */
export function expertWords({
  quant,
  expertTypes = [],
}: {
  quant: Quant;
  expertTypes?: string[] | undefined;
}): string {
  if (expertTypes.length === 0) return `${widthWords(quant)} experts`;
  return `experts in ${expertTypes.join(', ')} as in the file`;
}

export function widthWords(quant: Quant): string {
  return quant === 'mixed' || quant === 'tiered' ? '2- and 4-bit' : quant.replace('bit', '-bit');
}

/** Little to fetch isn't measured, and a hub that could not be measured gives no promise. */
export function planTime({ seconds, downloadBytes, doneBytes }: PlanSummary): string {
  if (seconds !== null) return formatDurationRange(seconds.low, seconds.high);
  if (downloadBytes === doneBytes) return 'nothing left to fetch';
  return `not measured for ${formatBytes(downloadBytes - doneBytes)}`;
}

/** The contract as lines of at most 80 columns for paths and names of usual length. */
export function planText(plan: PlanSummary, width = Number.POSITIVE_INFINITY): string {
  return pairLines(planPairs(plan), { width }).join('\n');
}

function exact(bytes: number): string {
  return `${formatExact(bytes)} bytes, ${formatBytesBoth(bytes)}`;
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}
