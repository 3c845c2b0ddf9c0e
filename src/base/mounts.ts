// Whether a path lies on a volume that may come and go, and whether it is there now.

import { lstat, readlink, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';

/** Folders below which systems mount external volumes, and how many names below it make one. */
const ROOTS: readonly (readonly [root: string, depth: number])[] = [
  ['/Volumes', 1],
  ['/run/media', 2],
  ['/media', 2],
  ['/mnt', 1],
];

/** The mount point that an external path needs, e.g. /Volumes/Big for /Volumes/Big/models; null for any other path. */
export function externalMount(path: string): string | null {
  for (const [root, depth] of ROOTS) {
    if (!path.startsWith(`${root}/`)) continue;
    const names = path.slice(root.length + 1).split('/');
    if (names.length >= depth) return [root, ...names.slice(0, depth)].join('/');
  }
  return null;
}

/**
 * What has to appear before `path` can be used: the mount point of an external volume, or the target of a link that
 * leads nowhere; null when nothing is missing. A plain path that does not exist yet lacks nothing.
 */
export async function absentVolume(path: string): Promise<string | null> {
  let current = path;
  // As many links as systems follow.
  for (let hop = 0; hop < 32; hop += 1) {
    const mount = externalMount(current);
    if (mount !== null && !(await exists(mount))) return mount;
    const link = await readlinkAtOrAbove(current);
    if (link === null) return null;
    if (!(await exists(link))) return externalMount(link) ?? link;
    if (link === current) return null;
    current = link;
  }
  return null;
}

/** Where the nearest symbolic link at or above `path` leads; null when there is none. */
async function readlinkAtOrAbove(path: string): Promise<string | null> {
  for (let folder = path; folder !== dirname(folder); folder = dirname(folder)) {
    const found = await lstat(folder).catch(() => null);
    if (found?.isSymbolicLink() !== true) continue;
    const target = resolve(dirname(folder), await readlink(folder));
    return `${target}${path.slice(folder.length)}`;
  }
  return null;
}

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );
