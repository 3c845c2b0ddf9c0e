// This machine's measurements: its addon, its disk and the models that are ready here.

import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { probeRates, probeWired } from '../addon/measure-probe.js';
import { isWorthMeasuring, measureReadRates } from '../addon/read-rate.js';
import type { BackendName, MetalDevice } from '../addon/types.js';
import { FlashmoeError } from '../base/errors.js';
import { packageRoot } from '../base/package-root.js';
import { inTemporaryFolder } from '../base/temporary-folder.js';
import type { DoctorContext } from '../doctor/context.js';
import { expertFiles } from '../doctor/expert-files.js';
import type { MachineFacts, ModelSpeed, NotRun } from '../measure/machine-report.js';
import type { Measurements } from '../measure/measure-machine.js';
import { measureModel } from '../measure/measure-model.js';
import { CATALOG } from '../models/catalog.js';
import type { AppContext } from './context.js';
import { nativeAddon } from './native.js';
import { openToMeasure } from './open-to-measure.js';
import { readyInstallations, type Ready } from './ready-models.js';

const KERNELS = join(packageRoot, 'metal');
/** Read by the GPU to see what becomes wired; sparse, so that it takes no room on the disk. */
const WIRED_BYTES = 512 * 1024 * 1024;
const DEPTHS = [1, 4, 8, 16];
const READ_MS = 700;
/** Shorter than `bench`: a model on a slow disk has its part of ten minutes, too. */
const PROMPT = 128;
const DECODE = 32;

/** What a report says of the machine: nothing that names its owner. */
export function machineFacts({ host }: AppContext, device: MetalDevice | null): MachineFacts {
  const { platform, arch, release, cpuModel, cores, memoryBytes } = host;
  if (platform !== 'darwin' && platform !== 'linux') {
    throw new FlashmoeError('ERR_USAGE', `nothing is measured on ${platform}`);
  }
  return {
    ...{ platform, arch, release, cpu: cpuModel, cores, memoryBytes },
    gpu: device?.name ?? null,
    recommendedWorkingSetBytes: device?.recommendedWorkingSetBytes ?? null,
  };
}

/** tiny, and the model with most experts beside it. */
export async function machineMeasurements(
  context: AppContext,
  doctor: DoctorContext,
  path: string,
): Promise<Measurements> {
  const { host } = context;
  const node = host.execPath;
  const probe = (backend: BackendName) => ({ path, backend, kernelsDir: KERNELS, node });
  const ready = await readyInstallations(context.home);
  const bySize = ready.toSorted((a, b) => sizeOf(a) - sizeOf(b));
  const [smallest, largest] = [bySize[0], bySize.at(-1)];
  const chosen = [...new Set([smallest, largest])].filter((one) => one !== undefined);
  return {
    async selfTest(backend, signal) {
      const test = await doctor.probeBackend(path, backend, signal);
      if (test.state !== 'tested') return { notRun: test.reason };
      const { checks } = test.selfTest;
      return { agreed: checks.filter(({ ok }) => ok).length, of: checks.length };
    },
    kernels: async (backend, signal) =>
      orReason(await probeRates(probe(backend), host.cores, signal)),
    wired: (signal) => measureWired(context, probe('metal'), signal),
    reads: (signal) => measureReads(context, doctor, signal),
    models: chosen.map((model) => ({
      name: catalogueName(model),
      measure: (signal) => speedOf(context, model, signal),
    })),
  };
}

const sizeOf = ({ manifest }: Ready): number =>
  manifest.files.reduce((sum, { size }) => sum + size, 0);

/** A folder's or repository's name may be its owner's. */
export const catalogueName = ({ manifest }: Ready): string =>
  CATALOG.some(({ id }) => id === manifest.model) ? manifest.model : 'own';

const orReason = <Value extends object>(answer: Value | string): Value | NotRun =>
  typeof answer === 'string'
    ? { notRun: answer === '' ? 'no reason given' : answer.slice(0, 300) }
    : answer;

async function measureWired(
  { host }: AppContext,
  probe: Parameters<typeof probeWired>[0],
  signal: AbortSignal,
): ReturnType<Measurements['wired']> {
  return inTemporaryFolder(host, 'wired', async (folder) => {
    const path = join(folder, 'zeros');
    const file = await open(path, 'wx');
    await file.truncate(WIRED_BYTES);
    await file.close();
    const growth = await probeWired(probe, path, signal);
    if (typeof growth === 'string') return { notRun: growth.slice(0, 300) };
    return { ...growth, fileBytes: WIRED_BYTES };
  });
}

async function measureReads(
  context: AppContext,
  doctor: DoctorContext,
  signal: AbortSignal,
): ReturnType<Measurements['reads']> {
  const { complete } = await doctor.models(signal);
  const sized = await Promise.all(complete.map(expertFiles));
  const largest = sized.toSorted((a, b) => b.totalBytes - a.totalBytes)[0];
  if (largest === undefined) return { notRun: 'no model is ready here whose files could be read' };
  const { files, expertBytes, totalBytes } = largest;
  if (!isWorthMeasuring(totalBytes, expertBytes)) {
    return {
      notRun: `the largest model here has ${String(totalBytes)} bytes of experts, too few to tell`,
    };
  }
  const rates: { way: 'page cache' | 'direct'; depth: number; bytesPerSecond: number }[] = [];
  for (const cached of [false, true]) {
    const task = { files, expertBytes, depths: DEPTHS, milliseconds: READ_MS, signal, cached };
    // Other places than the direct reads had: nothing was put into the page cache by them, but a drive has one of its own.
    const seed = Math.floor(context.host.now()) + (cached ? 1_000_000_007 : 0);
    const found = await measureReadRates(nativeAddon(context), { ...task, seed });
    for (const { depth, bytesPerSecond, uncached } of found) {
      if (!cached && !uncached) continue;
      rates.push({ way: cached ? 'page cache' : 'direct', depth, bytesPerSecond });
    }
  }
  if (rates.length === 0) return { notRun: 'no file of the largest model is as long as one read' };
  return { expertBytes, rates };
}

async function speedOf(
  context: AppContext,
  model: Ready,
  signal: AbortSignal,
): Promise<ModelSpeed> {
  const { native, isCold } = await openToMeasure(context, model, {}, signal);
  try {
    const room = native.info().maxPositions;
    const decode = Math.min(DECODE, room - 1);
    const prompt = Math.min(PROMPT, room - decode);
    const named = { model: catalogueName(model), quant: model.manifest.quant };
    const clock = { monotonic: () => context.host.monotonic(), signal };
    return await measureModel({ ...named, native, prompt, decode, isCold, ...clock });
  } finally {
    native.close();
  }
}
