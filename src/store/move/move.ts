// A finished model to another folder: its files get a second name there, or on another volume are copied,
// hashed on the way and read back. Then the pointer is written, and only then the source goes. A crash at any
// point leaves the model whole in one place, and the same command goes on.

import { link, mkdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { syncDirectory, writeFileAtomic } from '../../base/atomic-file.js';
import { asFlashmoeError, FlashmoeError } from '../../base/errors.js';
import { acquireLock } from '../../base/file-lock.js';
import { removeEmptyFolders, removeOwned, type OwnedFolder } from '../../base/owned-files.js';
import { modelPaths, modelPathsAt, type HomePaths, type ModelPaths } from '../../base/paths.js';
import type { NativeAddon } from '../../addon/types.js';
import { verifyFiles } from '../../repack/verify.js';
import { fileSize } from '../disk-sizes.js';
import { removeLocation, writeLocation } from '../location.js';
import type { ModelManifest, OwnedFile } from '../manifest.js';
import { MOVING_FILE, sourceShards } from '../model-files.js';
import { ownedModel } from '../ownership.js';
import { requireUnused } from '../presence.js';
import { planRemoval, removeFiles, type Removal } from '../removal.js';
import { trustedChains } from '../repair/chains.js';
import { readStoredPlan, type StoredPlan } from '../stored-plan.js';
import { copyFile } from './copy-file.js';
import { checkDestination } from './destination.js';

export interface MoveTask {
  home: HomePaths;
  id: string;
  /** Where the model is now. */
  paths: ModelPaths;
  manifest: ModelManifest;
  addon: NativeAddon;
  /** Of the target's volume, as the system names it; null when it doesn't tell. */
  fileSystem: string | null;
  signal: AbortSignal;
  emit: (event: MoveEvent) => void;
}

export type MoveEvent =
  | { type: 'step'; step: 'copy' | 'link' | 'verify' | 'remove' }
  | { type: 'progress'; step: 'copy' | 'verify'; item: string; done: number; total: number };

export interface Moved {
  from: string;
  to: string;
  /** Of all files. */
  bytes: number;
  /** Copied to another volume in this run; 0 where the files only got other names. */
  copiedBytes: number;
  /** Files of others, relative to `from`, which stay there. */
  foreign: string[];
}

/** Throws ERR_LOCKED during a setup and while a server has the model open, ERR_HOME and ERR_DISK_FULL before anything is written, ERR_MODEL_DAMAGED. */
export async function moveModel(folder: string, task: MoveTask): Promise<Moved> {
  const { id, paths, manifest, fileSystem } = task;
  const lock = await acquireLock(paths.lock);
  try {
    await requireUnused(paths);
    await finishEarlier(task);
    const stored = await readStoredPlan(paths.plan);
    const removal = await planRemoval(paths, manifest, stored);
    const shards = keptShards(removal, stored);
    const marker = markerText(paths.root, manifest);
    const source = paths.root;
    const { bytes, foreign } = removal;
    const about = { folder, id, source, bytes, marker, fileSystem };
    const { root, sameVolume } = await checkDestination(about);
    const moved = { from: source, to: root, bytes, copiedBytes: 0, foreign };
    if (root === source) return moved;
    await mkdir(root, { recursive: true });
    await writeFileAtomic(join(root, MOVING_FILE), marker);
    moved.copiedBytes = await bring(removal, root, sameVolume, task, shards);
    if (moved.copiedBytes > 0) await requireRight(root, shards, task);
    await point(root, task);
    await removeSource(removal, task);
    await removeOwned(ownedModel(modelPathsAt(root), {}), MOVING_FILE);
    return moved;
  } catch (error) {
    throw asFlashmoeError(error);
  } finally {
    await lock.release();
    await removeEmptyFolders(paths.root);
  }
}

/** Of a checkpoint beside the model, what is there of its shards. */
function keptShards({ files }: Removal, stored: StoredPlan | null): OwnedFile[] {
  if (stored === null) return [];
  const there = new Set(files.map(({ path }) => path));
  return sourceShards(stored).filter(({ path }) => there.has(path));
}

/** Bytes copied. Files that an earlier run brought are passed over; all are read back later. */
async function bring(
  { files, bytes: total, owner }: Removal,
  root: string,
  sameVolume: boolean,
  { paths, manifest, signal, emit }: MoveTask,
  shards: readonly OwnedFile[],
): Promise<number> {
  const there: OwnedFolder = { root, owns: (path) => owner.owns(path) };
  const known = [...manifest.files, ...shards];
  const hashes = new Map(known.map(({ path, sha256 }) => [path, sha256]));
  const folders = new Set([root]);
  let [copied, before] = [0, 0];
  emit({ type: 'step', step: sameVolume ? 'link' : 'copy' });
  for (const { path, bytes } of files) {
    signal.throwIfAborted();
    const [source, target] = [join(paths.root, path), join(root, path)];
    await mkdir(dirname(target), { recursive: true });
    folders.add(dirname(target));
    const listed = hashes.get(path);
    const isThere = listed !== undefined && (await fileSize(target)) === bytes;
    if (!isThere && !(sameVolume && (await isLinked(source, path, there)))) {
      const onProgress = (done: number): void => {
        emit({ type: 'progress', step: 'copy', item: path, done: before + done, total });
      };
      const { sha256 } = await copyFile(source, target, { signal, onProgress });
      if (listed !== undefined && sha256 !== listed) {
        if (!shards.some((shard) => shard.path === path)) throw damagedSource(source, target);
        await removeOwned(there, path);
        throw damagedShard(source);
      }
      copied += bytes;
    } else if (!sameVolume) copied += bytes;
    before += bytes;
  }
  for (const each of [...folders, dirname(root)]) await syncDirectory(each);
  return copied;
}

/** False where the file system gives no second names. */
async function isLinked(source: string, path: string, there: OwnedFolder): Promise<boolean> {
  try {
    await removeOwned(there, path);
    await link(source, join(there.root, path));
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EPERM' || code === 'ENOTSUP' || code === 'EMLINK' || code === 'EXDEV')
      return false;
    throw error;
  }
}

/** Every file at the target is read back and has the manifest's hash, or the hub's. */
async function requireRight(
  root: string,
  shards: readonly OwnedFile[],
  task: MoveTask,
): Promise<void> {
  const { manifest, addon, signal, emit } = task;
  emit({ type: 'step', step: 'verify' });
  const at = modelPathsAt(root);
  const files = await verifyFiles(root, [...manifest.files, ...shards], {
    ...{ addon, signal, chains: await trustedChains(at, manifest) },
    onProgress: (item, done, total) =>
      emit({ type: 'progress', step: 'verify', item, done, total }),
  });
  const bad = files.filter(({ problem }) => problem !== null);
  const [first] = bad;
  if (first === undefined) return;
  // The next run copies them once more.
  const names = new Set(bad.map(({ path }) => path));
  const copies = { root, owns: (path: string) => names.has(path) };
  for (const path of names) await removeOwned(copies, path);
  throw new FlashmoeError(
    'ERR_IO',
    `${join(root, first.path)}, copied, ${first.problem ?? ''}; the source was left as it is`,
    { hint: 'suspect the volume or its cable; run the command again', subject: first.path },
  );
}

/** From here on the model is at `root`. */
async function point(root: string, { home, id }: MoveTask): Promise<void> {
  const own = modelPaths(home, id).root;
  if (root === own) return await removeLocation(home, id);
  await mkdir(own, { recursive: true });
  await writeLocation(home, id, root);
}

async function removeSource(removal: Removal, { emit, signal }: MoveTask): Promise<void> {
  emit({ type: 'step', step: 'remove' });
  await removeFiles(removal, signal);
}

/** A run that died between pointer and end left files behind: their place is in the marker beside the model. */
async function finishEarlier({ paths, manifest, signal }: MoveTask): Promise<void> {
  const file = join(paths.root, MOVING_FILE);
  const text = await readFile(file, 'utf8').catch(() => null);
  if (text === null) return;
  const { from } = JSON.parse(text) as { from?: unknown };
  if (typeof from === 'string' && from !== paths.root && text === markerText(from, manifest)) {
    const at = modelPathsAt(from);
    await removeFiles(await planRemoval(at, manifest, await readStoredPlan(paths.plan)), signal);
    await removeEmptyFolders(from).catch(() => undefined);
  }
  await removeOwned(ownedModel(paths, {}), file);
}

function markerText(from: string, { contentSha256, fingerprint }: ModelManifest): string {
  const content = { format: 'flashmoe-moving', version: 1, from, fingerprint, contentSha256 };
  return `${JSON.stringify(content)}\n`;
}

function damagedSource(source: string, target: string): FlashmoeError {
  return new FlashmoeError(
    'ERR_MODEL_DAMAGED',
    `${source} is not what manifest.json says; it was left as it is, and so was its copy ${target}`,
    { hint: '`flashmoe verify --repair`, then the same command again', subject: source },
  );
}

function damagedShard(file: string): FlashmoeError {
  return new FlashmoeError(
    'ERR_MODEL_DAMAGED',
    `${file} is not what the hub had when it came; it was left as it is`,
    {
      hint: 'delete it, and the move does without; `flashmoe setup --keep-source` fetches it again',
      subject: file,
    },
  );
}
