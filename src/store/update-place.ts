// Where a newer commit of a finished model is made: a folder beside the model's own, which takes its place in the end. The names
// begin with a dot, so that nobody takes them for models.

import { lstat, mkdir, rename } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { syncDirectory } from '../base/atomic-file.js';
import { acquireLock } from '../base/file-lock.js';
import { listOwned, removeEmptyFolders, removeOwned } from '../base/owned-files.js';
import { modelPathsAt, type ModelPaths } from '../base/paths.js';
import { readManifest } from './manifest.js';
import { ownedModel } from './ownership.js';
import { isPresence } from './presence.js';
import { readStoredPlan } from './stored-plan.js';

/** The folder that a newer commit is made in. */
export function updatePaths({ root }: Pick<ModelPaths, 'root'>): ModelPaths {
  return modelPathsAt(join(dirname(root), `.${basename(root)}.update`));
}

/** What the model was until then, while its files are taken away. */
function earlierPaths({ root }: Pick<ModelPaths, 'root'>): ModelPaths {
  return modelPathsAt(join(dirname(root), `.${basename(root)}.before`));
}

/**
 * Gives the finished update the model's name; files of the user's move along, the model's own go. ERR_LOCKED while a setup
 * or a repair is at work in the model's folder. A server that has the old files open goes on reading them.
 */
export async function takePlace(paths: ModelPaths): Promise<void> {
  await (await acquireLock(paths.lock)).release();
  const earlier = earlierPaths(paths);
  await rename(paths.root, earlier.root);
  await rename(updatePaths(paths).root, paths.root);
  await syncDirectory(dirname(paths.root));
  await clearEarlier(paths, earlier);
}

/** Goes on where `takePlace` was interrupted; nothing where it was not. */
export async function finishTakingPlace(paths: ModelPaths): Promise<void> {
  const earlier = earlierPaths(paths);
  if (!(await isFolder(earlier.root))) return;
  if (!(await isFolder(paths.root))) {
    const update = updatePaths(paths);
    const isThere = await isFolder(update.root);
    await rename(isThere ? update.root : earlier.root, paths.root);
    await syncDirectory(dirname(paths.root));
    if (!isThere) return;
  }
  await clearEarlier(paths, earlier);
}

async function clearEarlier(paths: ModelPaths, earlier: ModelPaths): Promise<void> {
  const manifest = await readManifest(earlier.manifest).catch(() => null);
  const folder = ownedModel(earlier, { manifest, plan: await readStoredPlan(earlier.plan) });
  const { owned, foreign } = await listOwned(folder);
  // A server's lock moves as a whole, so that it can be asked at its place and its owner finds it there.
  const moving = new Set(
    foreign.map((path) => (isPresence(path) ? (path.split('/')[0] ?? path) : path)),
  );
  for (const path of moving) {
    const target = join(paths.root, path);
    if ((await lstat(target).catch(() => null)) !== null) continue;
    await mkdir(dirname(target), { recursive: true });
    await rename(join(earlier.root, path), target);
  }
  for (const { path } of owned) await removeOwned(folder, path);
  await removeEmptyFolders(earlier.root);
}

async function isFolder(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => null))?.isDirectory() ?? false;
}
