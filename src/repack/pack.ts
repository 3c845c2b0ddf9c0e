// Executes a plan through the addon, one durable step at a time. A file has its final name only when it is
// complete, synced and hashed; until then it ends in `.partial`. Steps may be repeated after a crash.

import { open, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { runJob } from '../addon/load.js';
import type { NativeAddon, PackLayerResult, PackProjection, Progress } from '../addon/types.js';
import {
  makeDirectory,
  PARTIAL_SUFFIX,
  syncDirectory,
  writeFileAtomic,
} from '../base/atomic-file.js';
import { asFlashmoeError, FlashmoeError } from '../base/errors.js';
import { CALIBRATION_FILE } from './calibration.js';
import { denseManifest, expertsManifest, manifestText } from './manifests.js';
import { type TablePlaces, writeTable } from './row-table.js';
import type { LayerPlan, PackPlan } from './types.js';

export interface PackTarget {
  addon: NativeAddon;
  /** Root of the model: dense file and its manifest. */
  root: string;
  /** Folder of the layer files and layout.json; `modelPaths(…).experts(quant)` in a home. */
  expertsDir: string;
  /** Where a shard of the plan lies on disk. */
  shardPath: (shard: string) => string;
  /** Native threads for requantising; the bytes don't depend on it. */
  threads: number;
  signal?: AbortSignal;
  onProgress?: Progress;
}

export interface PackedLayer {
  layer: number;
  file: string;
  size: number;
  sha256: string;
  /** gate_proj, up_proj, down_proj; all zero where bytes were copied. */
  error: PackLayerResult['error'];
}

const noProgress: Progress = () => undefined;

/** Copies a shard's dense tensors to their places in model_weights.bin.partial and syncs it. */
export async function extractDense(
  plan: PackPlan,
  shard: string,
  target: PackTarget,
): Promise<{ bytes: number }> {
  const ranges = plan.dense.entries
    .filter((entry) => entry.shard === shard)
    .map(({ sourceOffset, targetOffset, size }) => ({
      source: target.shardPath(shard),
      sourceOffset,
      targetOffset,
      size,
    }));
  if (ranges.length === 0) return { bytes: 0 };
  await makeFolder(target.root);
  const job = { target: densePartial(plan, target), ranges, sync: true };
  return runJob(target.addon.copyRanges(job, target.onProgress ?? noProgress), target.signal);
}

/**
 * Writes one layer file: `.partial`, sync, hash, rename, sync of the folder. Its bytes come from `shardPath`, or from
 * the places in `packed`, one for each projection of the plan.
 */
export async function packLayer(
  plan: PackPlan,
  layer: number,
  target: PackTarget,
  packed: readonly PackProjection[] | null = null,
): Promise<PackedLayer> {
  const entry = plan.layers.find((candidate) => candidate.layer === layer);
  const layout = entry && plan.layouts[entry.layout];
  if (entry === undefined || layout === undefined) {
    throw new FlashmoeError('ERR_PLAN', `layer ${layer} is not in the plan`);
  }
  if (entry.conversions !== undefined) {
    throw new FlashmoeError('ERR_PLAN', `layer ${layer} is of an original and made by ranges only`);
  }
  await makeFolder(target.expertsDir);
  const path = join(target.expertsDir, entry.file);
  const partial = path + PARTIAL_SUFFIX;
  if (entry.table !== undefined) {
    const places = packed ?? entry.projections.map((part) => located(part, target));
    return packTable(entry, layout.expert_stride, { path, places: [...places] }, target);
  }
  const jobOf = (
    { importance, ...projection }: PackProjection,
    source: PackProjection | undefined,
  ): PackProjection => {
    const { weight, scales, biases, bias } = source ?? located(projection, target);
    const weighed = importance && { ...importance, source: join(target.root, CALIBRATION_FILE) };
    return {
      ...projection,
      ...(weighed && { importance: weighed }),
      ...{ weight, scales, biases, ...(bias && { bias }) },
    };
  };
  const { kept } = entry;
  const others = kept && {
    experts: kept.experts,
    expertStride: plan.layouts[kept.layout]?.expert_stride ?? 0,
    projections: kept.projections.map((projection, index) => jobOf(projection, packed?.[index])),
  };
  const result = await runJob(
    target.addon.packLayer(
      {
        target: partial,
        experts: entry.experts,
        expertStride: layout.expert_stride,
        projections: entry.projections.map((projection, index) =>
          jobOf(projection, packed?.[index]),
        ),
        ...(others && { others }),
        method: 'search',
        threads: target.threads,
      },
      target.onProgress ?? noProgress,
    ),
    target.signal,
  );
  if (result.bytesWritten !== entry.size) {
    throw new FlashmoeError(
      'ERR_INTERNAL',
      `${partial}: ${result.bytesWritten} bytes were written, the plan says ${entry.size}`,
    );
  }
  await publish(partial, path);
  return { layer, file: entry.file, size: entry.size, sha256: result.sha256, error: result.error };
}

function located(
  { weight, scales, biases, bias }: PackProjection,
  { shardPath }: Pick<PackTarget, 'shardPath'>,
): Pick<PackProjection, 'weight' | 'scales' | 'biases' | 'bias'> {
  const at = <T extends { source: string } | null>(tensor: T): T =>
    tensor && { ...tensor, source: shardPath(tensor.source) };
  return {
    weight: at(weight),
    scales: at(scales),
    biases: at(biases),
    ...(bias && { bias: at(bias) }),
  };
}

async function packTable(
  entry: LayerPlan,
  rowBytes: number,
  { path, places }: { path: string; places: TablePlaces },
  target: PackTarget,
): Promise<PackedLayer> {
  const { layer, file, size } = entry;
  const partial = path + PARTIAL_SUFFIX;
  const { signal, addon, onProgress = noProgress } = target;
  await writeTable(entry, rowBytes, partial, { places, signal, onProgress });
  const { sha256 } = await runJob(addon.hashFile(partial, noProgress), signal);
  await publish(partial, path);
  return { layer, file, size, sha256, error: [] };
}

/**
 * After every extractDense: zeroes the gaps, hashes the file, renames it and writes model_weights.json.
 * Finds its own earlier work: a file that already has its final name is only hashed.
 */
export async function finishDense(
  plan: PackPlan,
  target: PackTarget,
): Promise<{ sha256: string; chain: string[] }> {
  const path = join(target.root, plan.dense.file);
  const partial = densePartial(plan, target);
  if (await exists(partial)) await zeroGaps(plan, partial);
  const current = (await exists(partial)) ? partial : path;
  const { sha256, bytes, chain } = await runJob(
    target.addon.hashFile(current, target.onProgress ?? noProgress),
    target.signal,
  );
  if (bytes !== plan.dense.size) {
    throw new FlashmoeError(
      'ERR_MODEL_DAMAGED',
      `${current}: is ${bytes} bytes, the plan says ${plan.dense.size}`,
      { hint: 'run `flashmoe setup` again, it writes the file anew' },
    );
  }
  if (current === partial) await publish(partial, path);
  await writeFileAtomic(
    join(target.root, 'model_weights.json'),
    manifestText(denseManifest(plan, sha256)),
  );
  return { sha256, chain };
}

/** Writes layout.json; `hashes` are layer → sha256 of every layer file of the plan. */
export async function writeLayout(
  plan: PackPlan,
  hashes: ReadonlyMap<number, string>,
  target: Pick<PackTarget, 'expertsDir'>,
): Promise<void> {
  await writeFileAtomic(
    join(target.expertsDir, 'layout.json'),
    manifestText(expertsManifest(plan, hashes)),
  );
}

function densePartial(plan: PackPlan, target: PackTarget): string {
  return join(target.root, plan.dense.file + PARTIAL_SUFFIX);
}

/** Between aligned tensors lie up to 63 bytes that no copy writes; a file of an earlier plan may have left some. */
async function zeroGaps(plan: PackPlan, path: string): Promise<void> {
  const file = await open(path, 'r+').catch(rethrow);
  try {
    let end = 0;
    for (const { targetOffset, size } of plan.dense.entries) {
      const gap = targetOffset - end;
      if (gap > 0) await file.write(new Uint8Array(gap), 0, gap, end);
      end = targetOffset + size;
    }
    const { size } = await file.stat();
    if (size > plan.dense.size) await file.truncate(plan.dense.size);
    await file.sync();
  } catch (error) {
    rethrow(error);
  } finally {
    await file.close();
  }
}

/** Its final name, durably. */
export async function publish(partial: string, path: string): Promise<void> {
  try {
    await rename(partial, path);
    await syncDirectory(dirname(path));
  } catch (error) {
    throw asFlashmoeError(error);
  }
}

async function makeFolder(path: string): Promise<void> {
  await makeDirectory(path).catch(rethrow);
}

async function exists(path: string): Promise<boolean> {
  try {
    await (await open(path, 'r')).close();
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw asFlashmoeError(error);
  }
}

function rethrow(error: unknown): never {
  throw asFlashmoeError(error);
}
