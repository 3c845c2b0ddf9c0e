// A checkpoint that is here already: a folder with shards and their config, or a repository in the cache of the
// Hub's own clients, whose snapshots are links into a folder of blobs that are called by their hashes. Reads
// names and sizes only.

import { readdir, readFile, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, sep } from 'node:path';
import { FlashmoeError } from '../base/errors.js';
import { isCommit, isRepoPath } from './repo-path.js';

export interface CheckpointFolder {
  /** Real path of the folder with config.json. */
  folder: string;
  /** `org/name` and commit as the cache names them; null in a plain folder. */
  repo: string | null;
  commit: string | null;
  /** Real path of the folder whose files are called by their hashes; null in a plain folder. */
  blobs: string | null;
}

export interface CheckpointFile {
  /** Below the folder, with slashes. */
  path: string;
  absolutePath: string;
  size: number;
  /** By the name of its blob: 64 hex digits are the sha256 of the content, 40 git's sha1; null when nothing tells. */
  hash: string | null;
}

const CACHED = /^models--([A-Za-z0-9._-]+?)--([A-Za-z0-9._-]+)$/;

/**
 * `path`: a folder with config.json or GGUF files, a snapshot, a `models--org--name` folder, or the cache itself when `repo` is
 * named. Throws ERR_USAGE when it is none of these.
 */
export async function locateCheckpoint(
  path: string,
  repo: string | null,
  revision: string,
): Promise<CheckpointFolder> {
  const folder = await realpath(path).catch((cause: unknown) => {
    throw new FlashmoeError('ERR_USAGE', `${path} is not there`, { cause, subject: '--from' });
  });
  // The cache itself, or the HF_HOME that it is in.
  for (const cache of repo === null ? [] : [folder, join(folder, 'hub')]) {
    const inCache = join(cache, `models--${(repo ?? '').replace('/', '--')}`);
    if (await isFolder(inCache)) return await snapshotOf(inCache, revision);
  }
  if (CACHED.test(basename(folder))) return await snapshotOf(folder, revision);
  const above = dirname(dirname(folder));
  if (basename(dirname(folder)) === 'snapshots' && CACHED.test(basename(above))) {
    return await cached(above, basename(folder));
  }
  return { folder: await withConfig(folder), repo: null, commit: null, blobs: null };
}

/**
 * Every file with a name that is safe below any folder. Links are followed wherever they lead, as tools that put shards
 * on another disk expect: `elsewhere` has those that leave folder and blobs, `missing` those that lead nowhere.
 */
export async function checkpointFiles(
  at: CheckpointFolder,
): Promise<{ files: CheckpointFile[]; elsewhere: string[]; missing: string[] }> {
  const [files, elsewhere, missing]: [CheckpointFile[], string[], string[]] = [[], [], []];
  for (const path of await namesBelow(at.folder, '')) {
    const absolutePath = await target(at, path);
    if (absolutePath === null) {
      missing.push(path);
      continue;
    }
    if (!isInside(at, absolutePath)) elsewhere.push(path);
    const name = basename(absolutePath);
    const isBlob = at.blobs !== null && dirname(absolutePath) === at.blobs;
    const hash = isBlob && /^([0-9a-f]{64}|[0-9a-f]{40})$/.test(name) ? name : null;
    files.push({ path, absolutePath, size: (await stat(absolutePath)).size, hash });
  }
  return { files, elsewhere, missing };
}

async function snapshotOf(root: string, revision: string): Promise<CheckpointFolder> {
  const names = await readdir(join(root, 'snapshots')).catch((): string[] => []);
  const isName = /^[A-Za-z0-9._-]+$/.test(revision);
  const ref = isName ? await readFile(join(root, 'refs', revision), 'utf8').catch(() => '') : '';
  const wanted = [ref.trim(), revision].find((name) => names.includes(name));
  const [only, another] = names;
  const name = wanted ?? (another === undefined ? only : undefined);
  if (name === undefined) {
    const has = names.length === 0 ? 'no snapshot' : `snapshots ${names.join(', ')}`;
    throw new FlashmoeError('ERR_USAGE', `${root} has ${has}, and none that ${revision} names`, {
      hint: 'name the folder of one snapshot, or a --revision that is there',
      subject: '--from',
    });
  }
  return await cached(root, name);
}

async function cached(root: string, snapshot: string): Promise<CheckpointFolder> {
  const [, org = '', name = ''] = CACHED.exec(basename(root)) ?? [];
  return {
    folder: await withConfig(join(root, 'snapshots', snapshot)),
    repo: `${org}/${name}`,
    commit: isCommit(snapshot) ? snapshot : null,
    blobs: await realpath(join(root, 'blobs')).catch(() => null),
  };
}

async function withConfig(folder: string): Promise<string> {
  if ((await stat(join(folder, 'config.json')).catch(() => null))?.isFile()) return folder;
  const names = await readdir(folder, { recursive: true }).catch((): string[] => []);
  // Their metadata stands for it.
  if (names.some((name) => /\.gguf$/i.test(name))) return folder;
  const what = 'holds neither config.json nor a GGUF file, so no checkpoint';
  throw new FlashmoeError('ERR_USAGE', `${folder} ${what}`, {
    hint: 'name a folder with config.json and shards, a GGUF file, or a snapshot of the Hugging Face cache',
    subject: '--from',
  });
}

/** Files and links, sorted; hidden ones are left out. */
async function namesBelow(folder: string, prefix: string): Promise<string[]> {
  const names: string[] = [];
  for (const entry of await readdir(join(folder, prefix), { withFileTypes: true })) {
    if (entry.name.startsWith('.')) continue;
    const path = prefix === '' ? entry.name : `${prefix}/${entry.name}`;
    if (entry.isDirectory()) names.push(...(await namesBelow(folder, path)));
    else if ((entry.isFile() || entry.isSymbolicLink()) && isRepoPath(path)) names.push(path);
  }
  return names.sort((a, b) => (a < b ? -1 : 1));
}

/** Real path of a file, or of the one that it is a link to; null for anything else. */
async function target({ folder }: CheckpointFolder, path: string): Promise<string | null> {
  const real = await realpath(join(folder, path)).catch(() => null);
  return real !== null && (await stat(real)).isFile() ? real : null;
}

function isInside({ folder, blobs }: CheckpointFolder, real: string): boolean {
  const roots = blobs === null ? [folder] : [folder, blobs];
  return roots.some((root) => real.startsWith(root + sep));
}

async function isFolder(path: string): Promise<boolean> {
  return (await stat(path).catch(() => null))?.isDirectory() ?? false;
}
