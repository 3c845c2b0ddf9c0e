// What of a model's folder is ours to delete, and deleting exactly that. Never through a symbolic link,
// never by pattern: a file is ours when the manifest or the plan names it, or when it is a record of a setup.

import { lstat, readdir, rm, rmdir } from 'node:fs/promises';
import { basename, dirname, join, relative, sep } from 'node:path';
import { PARTIAL_SUFFIX } from '../base/atomic-file.js';
import { FlashmoeError } from '../base/errors.js';
import { acquireLock } from '../base/file-lock.js';
import type { ModelPaths } from '../base/paths.js';
import type { ModelManifest } from './manifest.js';
import {
  finalFiles,
  smallFiles,
  MOVING_FILE,
  SCRATCH_NAME,
  SOURCE_MARK,
  sourceFiles,
} from './model-files.js';
import type { StoredPlan } from './stored-plan.js';

export interface Removal {
  root: string;
  /** Relative to `root`. */
  files: { path: string; bytes: number }[];
  /** Relative to `root`: not ours, so they and their folders stay. */
  foreign: string[];
  bytes: number;
}

/** Reads names and sizes only. An absent folder is an empty removal; ERR_HOME when it is a link or a mount point. */
export async function planRemoval(
  paths: ModelPaths,
  manifest: ModelManifest | null,
  plan: StoredPlan | null,
): Promise<Removal> {
  const removal: Removal = { root: paths.root, files: [], foreign: [], bytes: 0 };
  const root = await lstat(paths.root).catch(() => null);
  if (root === null) return removal;
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
  const mark = await lstat(join(paths.root, SOURCE_MARK)).catch(() => null);
  const isOurs = ownership(paths, manifest, plan, mark?.isFile() === true);
  const lock = `${basename(paths.lock)}/`;
  for (const { path, bytes } of await filesBelow(paths.root, '', root.dev)) {
    // Its owner takes it away.
    if (path.startsWith(lock)) continue;
    if (bytes === null || !isOurs(path)) {
      removal.foreign.push(path);
    } else {
      removal.files.push({ path, bytes });
      removal.bytes += bytes;
    }
  }
  return removal;
}

/**
 * Deletes the files of a removal, then every folder that is empty by then. Returns the bytes freed.
 * ERR_LOCKED while a setup is at work there.
 */
export async function remove(
  removal: Removal,
  paths: Pick<ModelPaths, 'lock'>,
  signal: AbortSignal,
): Promise<number> {
  const lock = await acquireLock(paths.lock);
  try {
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
    await rm(join(removal.root, path), { force: true });
    freed += bytes;
  }
  return freed;
}

function ownership(
  paths: ModelPaths,
  manifest: ModelManifest | null,
  plan: StoredPlan | null,
  keepsSource: boolean,
): (path: string) => boolean {
  const below = (path: string): string => relative(paths.root, path).split(sep).join('/');
  const download = below(paths.download);
  const owned = new Set([
    ...[paths.manifest, paths.journal, paths.plan, paths.limits, paths.record].map(below),
    MOVING_FILE,
    ...(manifest?.files ?? []).map(({ path }) => path),
    ...(plan === null
      ? []
      : [...finalFiles(paths, plan), ...(keepsSource ? sourceFiles(plan) : [])]),
    ...[...(plan?.pack.shards ?? []), ...(plan === null ? [] : smallFiles(plan))].map(
      ({ path }) => `${download}/${path}`,
    ),
  ]);
  const isScratch = (path: string): boolean =>
    path.startsWith(`${download}/`) && SCRATCH_NAME.test(path.slice(download.length + 1));
  return (path) => owned.has(path) || owned.has(withoutPartial(path)) || isScratch(path);
}

/** `a/.name.0123456789ab.partial`, `a/name.partial` and its `a/name.partial.json` become `a/name`. */
function withoutPartial(path: string): string {
  const partial = path.endsWith(`${PARTIAL_SUFFIX}.json`) ? path.slice(0, -'.json'.length) : path;
  if (!partial.endsWith(PARTIAL_SUFFIX)) return path;
  const bare = partial.slice(0, -PARTIAL_SUFFIX.length);
  return bare.replace(/(^|\/)\.([^/]+)\.[0-9a-f]{12}$/, '$1$2');
}

/** `bytes` is null for what is no regular file, and for a folder where another volume is mounted. */
async function filesBelow(
  root: string,
  folder: string,
  device: number,
): Promise<{ path: string; bytes: number | null }[]> {
  const found: { path: string; bytes: number | null }[] = [];
  for (const entry of await readdir(join(root, folder), { withFileTypes: true })) {
    const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
    const { dev, size } = await lstat(join(root, path));
    if (dev !== device) found.push({ path, bytes: null });
    else if (entry.isDirectory()) found.push(...(await filesBelow(root, path, device)));
    else found.push({ path, bytes: entry.isFile() ? size : null });
  }
  return found;
}

/** Every folder at or below `folder` that is empty by now; an absent one is none. */
export async function removeEmptyFolders(folder: string): Promise<void> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return [];
      throw error;
    },
  );
  for (const entry of entries) {
    if (entry.isDirectory()) await removeEmptyFolders(join(folder, entry.name));
  }
  await rmdir(folder).catch((error: NodeJS.ErrnoException) => {
    // Something of the user's is in it, or it is where a volume is mounted.
    if (
      error.code !== 'ENOTEMPTY' &&
      error.code !== 'EEXIST' &&
      error.code !== 'EBUSY' &&
      error.code !== 'ENOENT'
    )
      throw error;
  });
}
