// A width made of the same model as published, which is here already: layer after layer out of its files, each held
// against the manifest before it is read and read back after it is written. No byte comes over a network.

import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { runJob } from '../addon/load.js';
import { PARTIAL_SUFFIX, syncDirectory } from '../base/atomic-file.js';
import { FlashmoeError } from '../base/errors.js';
import { monotonic } from '../base/host.js';
import { removeOwned, type OwnedFolder } from '../base/owned-files.js';
import type { ModelPaths } from '../base/paths.js';
import { finishDense, packLayer, type PackTarget } from '../repack/pack.js';
import { projectionsIn } from '../repack/replan.js';
import type { LayerPlan } from '../repack/types.js';
import { fileSize } from '../store/disk-sizes.js';
import type { JournalEntry } from '../store/journal.js';
import type { ModelManifest } from '../store/manifest.js';
import { layerPath } from '../store/model-files.js';
import { copyFile } from '../store/move/copy-file.js';
import { ownedModel } from '../store/ownership.js';
import { requantisedLayer } from '../store/requantisation.js';
import type { StoredPlan } from '../store/stored-plan.js';
import { lineRoom, type TransferTask } from './transfer-task.js';

/** A finished model whose experts are as published. */
export interface PackedModel {
  paths: ModelPaths;
  manifest: ModelManifest;
  stored: StoredPlan;
  /** Each of its layers goes when the new one is on the disk, and in the end all of it. */
  inPlace: boolean;
}

const PROGRESS_MS = 100;

/** Throws ERR_MODEL_DAMAGED for a file of `from` that is not what its manifest says; nothing is made of it. */
export async function makeFromModel(task: TransferTask, from: PackedModel): Promise<void> {
  const { plan, emit, gate, signal, budget } = task;
  const { pack } = plan.stored;
  const missing = pack.layers.filter(({ layer }) => !plan.state.layers.has(layer));
  const isDone = missing.length === 0 && plan.state.denseFile !== null;
  emit({ type: 'step', step: 'fetch', status: 'skipped', detail: 'made of what is here' });
  emit({ type: 'step', step: 'pack', status: isDone ? 'skipped' : 'started' });
  for (const layer of pack.layers) {
    if (missing.includes(layer)) continue;
    const file = layerPath(task.paths, pack.quant, layer);
    emit({ type: 'layer', layer: layer.layer, file, status: 'skipped' });
    // A run that was killed between the journal's line and the removal left it.
    if (from.inPlace) await giveUpLayer(from, layer);
  }
  for (const layer of missing) {
    await gate.pass(signal);
    await makeLayer(task, from, layer);
    if (from.inPlace) await giveUpLayer(from, layer);
    await budget.sample();
  }
  if (plan.state.denseFile === null) await takeDense(task, from);
  if (!isDone) emit({ type: 'step', step: 'pack', status: 'done' });
}

async function makeLayer(task: TransferTask, from: PackedModel, layer: LayerPlan): Promise<void> {
  const { addon, plan, emit, paths, budget, signal } = task;
  const { pack } = plan.stored;
  const file = layerPath(paths, pack.quant, layer);
  const source = layerPath(from.paths, from.manifest.quant, layer);
  emit({ type: 'layer', layer: layer.layer, file, status: 'started' });
  const onProgress = progressOf(task, file);
  await requireRight(task, from, source, onProgress);
  const projections = projectionsIn(from.stored.pack, layer.layer, join(from.paths.root, source));
  const partial = join(paths.root, file + PARTIAL_SUFFIX);
  const need = async (): Promise<number> => {
    // It is written anew from its beginning, so what it holds now is room, too.
    await removeOwned(ownerOf(task), partial);
    return layer.size;
  };
  const { sha256, error } = await budget.patiently(file, need, signal, () =>
    packLayer(pack, layer.layer, { ...targetOf(task), onProgress }, projections),
  );
  const { chain } = await runJob(addon.hashFile(join(paths.root, file), onProgress), signal);
  if (chain.at(-1) !== sha256) {
    throw new FlashmoeError('ERR_IO', `${file}: reads back other than it was written`);
  }
  const errors = requantisedLayer(pack, layer.layer, error);
  await append(task, {
    ...{ step: 'packed', layer: layer.layer, file, bytes: layer.size, sha256, chain },
    ...(errors.length === 0 ? {} : { errors }),
  });
  emit({ type: 'layer', layer: layer.layer, file, status: 'done' });
}

/** What was written well once may have rotted since, and would be made narrower without a word. */
async function requireRight(
  { addon, signal }: TransferTask,
  { paths, manifest }: PackedModel,
  path: string,
  onProgress: (done: number, total: number) => void,
): Promise<void> {
  const named = manifest.files.find((file) => file.path === path);
  const { sha256 } = await runJob(addon.hashFile(join(paths.root, path), onProgress), signal);
  if (named?.sha256 !== sha256) throw damaged(paths, path);
}

/** Byte for byte the same at every width. */
async function takeDense(task: TransferTask, from: PackedModel): Promise<void> {
  const { paths, plan, budget, signal } = task;
  const { file, size } = plan.stored.pack.dense;
  const [source, target] = [join(from.paths.root, file), join(paths.root, file)];
  const expected = from.manifest.files.find(({ path }) => path === file)?.sha256;
  const onProgress = progressOf(task, file);
  const need = (): Promise<number> => Promise.resolve(size);
  // Of a run that was killed: it is hashed below whoever put it there.
  const isThere = (await fileSize(target)) === size;
  if (!isThere && from.inPlace) {
    await rename(source, target);
    await syncDirectory(paths.root);
  } else if (!isThere) {
    const progress = { signal, onProgress: (done: number) => onProgress(done, size) };
    await budget.patiently(file, need, signal, () => copyFile(source, target, progress));
    await syncDirectory(paths.root);
  }
  const { sha256, chain } = await finishDense(plan.stored.pack, targetOf(task));
  if (sha256 !== expected) {
    if (!from.inPlace) await removeOwned(ownerOf(task), target);
    throw damaged(from.inPlace ? paths : from.paths, file);
  }
  await append(task, { step: 'dense-finished', file, bytes: size, sha256, chain });
}

async function giveUpLayer(
  { paths, manifest, stored }: PackedModel,
  layer: Pick<LayerPlan, 'file'>,
): Promise<void> {
  const owner = ownedModel(paths, { manifest, plan: stored });
  await removeOwned(owner, layerPath(paths, manifest.quant, layer));
}

function targetOf({ addon, paths, plan, threads, signal }: TransferTask): PackTarget {
  return {
    ...{ addon, root: paths.root, expertsDir: paths.experts(plan.stored.pack.quant) },
    ...{ shardPath: (shard) => join(paths.download, shard), threads, signal },
  };
}

function ownerOf({ paths, plan }: TransferTask): OwnedFolder {
  return ownedModel(paths, { plan: plan.stored });
}

function progressOf({ emit }: TransferTask, item: string): (done: number, total: number) => void {
  let toldAt = 0;
  return (done, total) => {
    if (monotonic() - toldAt < PROGRESS_MS && done < total) return;
    toldAt = monotonic();
    emit({ type: 'progress', step: 'pack', item, done, total });
  };
}

function damaged({ root }: ModelPaths, path: string): FlashmoeError {
  return new FlashmoeError(
    'ERR_MODEL_DAMAGED',
    `${join(root, path)} is not what its manifest says; nothing was made of it, and what was made before is kept`,
    {
      hint: `\`flashmoe verify --repair\` makes it right, then the same command goes on`,
      subject: path,
    },
  );
}

async function append(task: TransferTask, entry: JournalEntry): Promise<void> {
  const { journal, budget, signal } = task;
  const need = (): Promise<number> => Promise.resolve(lineRoom(entry));
  await budget.patiently('the journal', need, signal, () => journal.append(entry));
}
