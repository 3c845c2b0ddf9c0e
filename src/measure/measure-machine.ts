// The measurements of a machine one after the other, none beside another, within a bounded time. It owns their order and
// what becomes of one that fails; how each is taken is given from outside.

import type { KernelRates, WiredGrowth } from '../addon/types.js';
import type { MachineFacts, MachineReport, ModelSpeed, NotRun } from './machine-report.js';

/** Of all measurements together, in milliseconds. */
export const LIMIT_MS = 10 * 60_000;

type Backend = keyof MachineReport['kernels'];
type Outcome<Value> = Promise<Value | NotRun>;

/** Each answers with figures or with the reason why there are none; a rejection is such a reason, too. */
export interface Measurements {
  selfTest: (backend: Backend, signal: AbortSignal) => Outcome<{ agreed: number; of: number }>;
  kernels: (backend: Backend, signal: AbortSignal) => Outcome<KernelRates>;
  wired: (signal: AbortSignal) => Outcome<WiredGrowth & { fileBytes: number }>;
  reads: (signal: AbortSignal) => Outcome<Exclude<MachineReport['reads'], NotRun>>;
  /** From the smallest model on. */
  models: readonly { name: string; measure: (signal: AbortSignal) => Outcome<ModelSpeed> }[];
}

export interface MeasuringOptions {
  version: string;
  machine: MachineFacts;
  day: string;
  /** Milliseconds. */
  monotonic: () => number;
  signal: AbortSignal;
  onProgress: (step: number, steps: number, what: string) => void;
  /** For tests; absent: ten minutes. */
  limitMs?: number;
}

/** Rejects only after an abort, with its reason. */
export async function measureMachine(
  measurements: Measurements,
  options: MeasuringOptions,
): Promise<MachineReport> {
  const { version, machine, day, monotonic, signal, onProgress, limitMs = LIMIT_MS } = options;
  const end = monotonic() + limitMs;
  const steps = 6 + measurements.models.length;
  let step = 0;
  const take = async <Value extends object>(
    what: string,
    measure: (signal: AbortSignal) => Outcome<Value>,
  ): Outcome<Value> => {
    onProgress((step += 1), steps, what);
    const left = end - monotonic();
    const over = `not reached within ${String(limitMs / 60_000)} minutes`;
    if (left <= 0) return { notRun: over };
    const limit = AbortSignal.timeout(Math.ceil(left));
    try {
      return await measure(AbortSignal.any([signal, limit]));
    } catch (error) {
      signal.throwIfAborted();
      if (limit.aborted) return { notRun: over };
      return { notRun: error instanceof Error ? error.message.slice(0, 300) : 'failed' };
    }
  };
  const { selfTest, kernels, wired, reads } = measurements;
  const report: MachineReport = {
    format: 'flashmoe-machine',
    schema: 1,
    version,
    day,
    machine,
    selfTest: {
      cpu: await take('operations of the CPU against their references', (s) => selfTest('cpu', s)),
      metal: await take('operations of the GPU against their references', (s) =>
        selfTest('metal', s),
      ),
    },
    kernels: {
      cpu: await take('speed of the CPU', (s) => kernels('cpu', s)),
      metal: await take('speed of the GPU', (s) => kernels('metal', s)),
    },
    wired: await take('what mapped and allocated memory keep from the system', wired),
    reads: await take('reads of expert size, through the page cache and past it', reads),
    models: { notRun: 'no model is ready here: `flashmoe setup tiny` makes one' },
  };
  const speeds: ModelSpeed[] = [];
  let reason: NotRun | null = null;
  for (const { name, measure } of measurements.models) {
    const speed = await take(`tokens a second of ${name}`, measure);
    if ('notRun' in speed) reason ??= { notRun: `${name}: ${speed.notRun}`.slice(0, 300) };
    else speeds.push(speed);
  }
  if (speeds.length > 0) report.models = speeds;
  else if (reason !== null) report.models = reason;
  return report;
}
