// The one door through which files are deleted. A folder's owner says by name what is ours; all else in it is the
// user's and stays. A walk never follows a symbolic link and never goes onto another volume.

import { lstat, readdir, rm, rmdir } from 'node:fs/promises';
import { isAbsolute, join, relative, sep } from 'node:path';
import { PARTIAL_SUFFIX } from './atomic-file.js';

export interface OwnedFolder {
  /** Absolute. */
  root: string;
  /** Whether flashmoe made the file at `path`, which is relative to `root` and has slashes. */
  owns(path: string): boolean;
}

export interface FoundFiles {
  /** Regular files that are ours, relative to the root. */
  owned: { path: string; bytes: number }[];
  /** All else that is no folder, and folders where another volume is mounted. */
  foreign: string[];
}

/** Everything in a folder and below; nothing in one that is absent. Reads names and sizes only. */
export async function listOwned(folder: OwnedFolder): Promise<FoundFiles> {
  const found: FoundFiles = { owned: [], foreign: [] };
  const root = await lstat(folder.root).catch(() => null);
  if (root !== null) await look(folder, '', root.dev, found);
  return found;
}

async function look(
  folder: OwnedFolder,
  below: string,
  device: number,
  found: FoundFiles,
): Promise<void> {
  for (const entry of await readdir(join(folder.root, below), { withFileTypes: true })) {
    const path = below === '' ? entry.name : `${below}/${entry.name}`;
    const status = await lstat(join(folder.root, path)).catch(ignoreMissing);
    if (status === null) continue;
    if (status.dev === device && entry.isDirectory()) await look(folder, path, device, found);
    else if (status.dev === device && entry.isFile() && folder.owns(path)) {
      found.owned.push({ path, bytes: status.size });
    } else found.foreign.push(path);
  }
}

/**
 * Deletes one file, named from the root or absolutely; an absent one is gone already. RangeError for a name that isn't
 * ours: whoever asks has a fault.
 */
export async function removeOwned(folder: OwnedFolder, file: string): Promise<void> {
  const path = isAbsolute(file) ? relative(folder.root, file).split(sep).join('/') : file;
  if (path.split('/').includes('..') || !folder.owns(path)) {
    throw new RangeError(`${path} in ${folder.root} is not ours to delete`);
  }
  await rm(join(folder.root, path), { force: true });
}

/** Every folder at or below `folder` that is empty by now; an absent one is none. */
export async function removeEmptyFolders(folder: string): Promise<void> {
  for (const entry of (await readdir(folder, { withFileTypes: true }).catch(ignoreMissing)) ?? []) {
    if (entry.isDirectory()) await removeEmptyFolders(join(folder, entry.name));
  }
  await removeEmptyFolder(folder);
}

/** Nothing where something is in it, where a volume is mounted, or where it is gone. */
export async function removeEmptyFolder(folder: string): Promise<void> {
  await rmdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (!['ENOTEMPTY', 'EEXIST', 'EBUSY', 'ENOENT'].includes(error.code ?? '')) throw error;
  });
}

/**
 * The final name of a partial file: of `a/.name.0123456789ab.partial`, `a/name.partial` and its `a/name.partial.json`, `a/name`;
 * so of a record of a partial file that is itself being written.
 */
export function finalName(path: string): string {
  const partial = path.endsWith(`${PARTIAL_SUFFIX}.json`) ? path.slice(0, -'.json'.length) : path;
  if (!partial.endsWith(PARTIAL_SUFFIX)) return path;
  const bare = partial.slice(0, -PARTIAL_SUFFIX.length);
  return finalName(bare.replace(/(^|\/)\.([^/]+)\.[0-9a-f]{12}$/, '$1$2'));
}

function ignoreMissing(error: NodeJS.ErrnoException): null {
  if (error.code === 'ENOENT') return null;
  throw error;
}
