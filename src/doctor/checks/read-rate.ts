import { isWorthMeasuring, type DepthRate } from '../../addon/read-rate.js';
import { formatBytes, formatRate } from '../../base/format.js';
import { CATALOG } from '../../models/catalog.js';
import { isOffered } from '../../models/quant.js';
import { FASTEST_BEFORE_M5, speedsBeside } from '../../models/measured-speeds.js';
import { verdict } from '../../models/verdict.js';
import type { Check } from '../check.js';
import type { Finding } from '../finding.js';
import type { DoctorContext, ModelFiles } from '../context.js';
import { expertFiles } from '../expert-files.js';
import { hasWorkingAddon } from './engine.js';

const id = 'disk.read';

/** The largest installed model is read as the engine reads it: whole experts, at scattered places, uncached. */
export const readRate: Check = {
  id,
  title: 'uncached reads of expert size at depths 1, 4 and 8, and the tokens/s they allow',
  timeoutMs: 60_000,
  alone: true,
  async run(context, signal) {
    const { complete } = await context.models(signal);
    const sized = await Promise.all(complete.map(expertFiles));
    const largest = sized.toSorted((a, b) => b.totalBytes - a.totalBytes)[0];
    if (largest === undefined) {
      const title = 'reads not measured: no model is installed whose layer files could be read';
      return [{ id, severity: 'skip', title }];
    }
    const { model, files, expertBytes, totalBytes } = largest;
    if (!isWorthMeasuring(totalBytes, expertBytes)) {
      const has = `${model.id} has ${formatBytes(totalBytes)} of experts`;
      return [{ id, severity: 'skip', title: `reads not measured: ${has}, too little to tell` }];
    }
    if (!(await hasWorkingAddon(context, signal))) {
      return [{ id, severity: 'skip', title: 'reads not measured: no engine loads here' }];
    }
    const rates = await context.measureReads({ files, expertBytes }, signal);
    return [judge(context, model, expertBytes, rates)];
  },
};

function judge(
  { host }: DoctorContext,
  model: ModelFiles,
  expertBytes: number,
  rates: readonly DepthRate[],
): Finding {
  const best = Math.max(0, ...rates.map(({ bytesPerSecond }) => bytesPerSecond));
  if (best === 0) return { id, severity: 'skip', title: 'reads not measured: files too short' };
  const depths = rates.map(
    ({ depth, bytesPerSecond }) => `${formatRate(bytesPerSecond)} at ${depth}`,
  );
  const title = `uncached reads of ${formatBytes(expertBytes)}: ${depths.join(', ')}`;
  if (rates.some(({ uncached }) => !uncached)) {
    const why = 'this file system takes no uncached reads, so the figures are partly memory’s';
    return { id, severity: 'info', title, why };
  }
  const why = [allowed(model, best, host.memoryBytes), beside(model, host.memoryBytes)]
    .filter((text) => text !== '')
    .join('; ');
  if (
    host.platform === 'darwin' &&
    best > FASTEST_BEFORE_M5 &&
    !/\bM([5-9]|\d\d)\b/.test(host.cpuModel)
  ) {
    const doubt = 'faster than this chip’s storage is known to be: part came from memory';
    return { id, severity: 'info', title, why: `${doubt}; ${why}` };
  }
  return { id, severity: 'ok', title, why };
}

/** What the rate means for this model, and whether its last known answers fit to it. */
function allowed(
  { model, quant, tokensPerSecond }: ModelFiles,
  rate: number,
  memory: number,
): string {
  const entry = CATALOG.find((candidate) => candidate.id === model);
  if (entry === undefined || !isOffered(quant)) return '';
  const machine = { memoryBytes: memory, freeBytes: null, readBytesPerSecond: rate };
  const speed = verdict(entry, quant, machine).tokensPerSecond;
  if (speed === null) return '';
  const allows = `allows ${model} ${speed.low.toFixed(1)} to ${speed.high.toFixed(1)} tokens/s`;
  return tokensPerSecond === null
    ? allows
    : `${allows}, its known answers came at ${tokensPerSecond.toFixed(1)}`;
}

function beside({ model }: ModelFiles, memory: number): string {
  const machines = speedsBeside(model, memory).slice(0, 3);
  if (machines.length === 0) return '';
  const named = machines.map(({ machine, memoryGb, low, high, note }) => {
    const speed = low === high ? `${low}` : `${low} to ${high}`;
    return `${machine} ${memoryGb} GB ${speed}${note === undefined ? '' : ` (${note})`}`;
  });
  return `others report ${named.join(', ')} (${machines[0]?.source})`;
}
