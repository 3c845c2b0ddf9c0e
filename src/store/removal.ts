// What of a model's folder is ours to delete, and deleting exactly that. Never through a symbolic link,
// never by pattern: a file is ours when the manifest or the plan names it, or when it is a record of a setup.

import { lstat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { FlashmoeError } from '../base/errors.js';
import { acquireLock } from '../base/file-lock.js';
import {
  listOwned,
  removeEmptyFolders,
  removeOwned,
  type OwnedFolder,
} from '../base/owned-files.js';
import type { ModelPaths } from '../base/paths.js';
import { namesBefore } from './before-names.js';
import type { ModelManifest } from './manifest.js';
import { SOURCE_MARK } from './model-files.js';
import { ownedModel } from './ownership.js';
import { isPresence, requireUnused } from './presence.js';
import type { StoredPlan } from './stored-plan.js';

export interface Removal {
  root: string;
  /** Relative to `root`. */
  files: { path: string; bytes: number }[];
  /** Relative to `root`: not ours, so they and their folders stay. */
  foreign: string[];
  bytes: number;
  /** Whose files they are. */
  owner: OwnedFolder;
}

/** Reads names and sizes only. An absent folder is an empty removal; ERR_HOME when it is a link or a mount point. */
export async function planRemoval(
  paths: ModelPaths,
  manifest: ModelManifest | null,
  plan: StoredPlan | null,
): Promise<Removal> {
  const mark = await lstat(join(paths.root, SOURCE_MARK)).catch(() => null);
  const before = await namesBefore(paths);
  const owner = ownedModel(paths, {
    ...{ manifest, plan, before },
    keepsSource: mark?.isFile() === true,
  });
  const root = await lstat(paths.root).catch(() => null);
  if (root === null) return { root: paths.root, files: [], foreign: [], bytes: 0, owner };
  if (!root.isDirectory()) {
    throw new FlashmoeError('ERR_HOME', `${paths.root} is a link or no folder; it was left alone`, {
      hint: 'remove it yourself if it should go',
      subject: paths.root,
    });
  }
  if (root.dev !== (await lstat(dirname(paths.root))).dev) {
    throw new FlashmoeError(
      'ERR_HOME',
      `${paths.root} is where a volume is mounted; it was left alone`,
      {
        hint: 'unmount it, or remove what is on it yourself',
        subject: paths.root,
      },
    );
  }
  const { owned: files, foreign } = await listOwned(owner);
  // Their owners take them away.
  const lock = `${basename(paths.lock)}/`;
  return {
    root: paths.root,
    files,
    foreign: foreign.filter((path) => !path.startsWith(lock) && !isPresence(path)),
    bytes: files.reduce((sum, { bytes }) => sum + bytes, 0),
    owner,
  };
}

/**
 * Deletes the files of a removal, then every folder that is empty by then. Returns the bytes freed.
 * ERR_LOCKED while a setup is at work there, or a server answers with the model.
 */
export async function remove(
  removal: Removal,
  paths: Pick<ModelPaths, 'lock' | 'root'>,
  signal: AbortSignal,
): Promise<number> {
  const lock = await acquireLock(paths.lock);
  try {
    await requireUnused(paths);
    return await removeFiles(removal, signal);
  } finally {
    await lock.release();
    await removeEmptyFolders(removal.root);
  }
}

/** The files alone; the caller holds the folder's lock. Returns the bytes freed. */
export async function removeFiles(removal: Removal, signal: AbortSignal): Promise<number> {
  let freed = 0;
  for (const { path, bytes } of removal.files) {
    signal.throwIfAborted();
    await removeOwned(removal.owner, path);
    freed += bytes;
  }
  return freed;
}
