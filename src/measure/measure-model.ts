// Tokens a second of one model: first as the disk has it, then warm, then with no expert kept in memory.

import { runJob } from '../addon/load.js';
import type { NativeEngine } from '../addon/types.js';
import { diskBytesRead } from '../base/process-usage.js';
import { measureSpeed, type Speed } from '../engine/speed.js';
import type { ModelRun, ModelSpeed } from './machine-report.js';

export interface ModelMeasuring {
  /** As the report names it: a name of the catalogue, or `own`. */
  model: string;
  quant: string;
  native: NativeEngine;
  prompt: number;
  decode: number;
  /** Its files have left the page cache. */
  isCold: boolean;
  monotonic: () => number;
  signal: AbortSignal;
}

/** The engine's memory for experts is used as it is, then given up; whoever opened the engine closes it. */
export async function measureModel(measuring: ModelMeasuring): Promise<ModelSpeed> {
  const { model, quant, native, prompt, decode, isCold, monotonic, signal } = measuring;
  const info = native.info();
  const pass = (): Promise<Speed> =>
    measureSpeed({ native, prompt, decode, signal, diskBytes: diskBytesRead, monotonic });
  const runs = [
    runOf(isCold ? 'cold' : 'as found', 'kept', await pass()),
    runOf('warm', 'kept', await pass()),
  ];
  await runJob(native.resizeExperts(0), signal);
  runs.push(runOf('warm', 'not kept', await pass()));
  return modelSpeed(info, { model, quant, prompt, decode, runs });
}

/** What a report says of a model that was measured. Pure. */
export function modelSpeed(
  info: ReturnType<NativeEngine['info']>,
  measured: Pick<ModelSpeed, 'model' | 'quant' | 'prompt' | 'decode' | 'runs'>,
): ModelSpeed {
  const { expertFileBytes, expertsPerToken } = info;
  const backend = info.backend === 'metal' ? 'metal' : 'cpu';
  return { ...measured, expertFileBytes, expertsPerToken, backend };
}

export function runOf(
  cache: ModelRun['cache'],
  experts: ModelRun['experts'],
  speed: Speed,
): ModelRun {
  const { prefillRate, decodeRate, hitRate, waitShare } = speed;
  const { deviceWaitsPerToken, deviceWaitShare, deviceBusyShare } = speed;
  const device = { deviceWaitsPerToken, deviceWaitShare, deviceBusyShare };
  return { cache, experts, prefillRate, decodeRate, hitRate, waitShare, ...device };
}
