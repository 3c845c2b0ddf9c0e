// A local folder as a repository: the same sizes, hashes and commit on every machine that has the same bytes.

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';

/** The Hub keeps larger files in LFS whatever their name. */
const LFS_BYTES = 10 * 1024 * 1024;
const READ_BYTES = 1024 * 1024;

export interface BundledFile {
  /** Below the repository, with slashes. */
  path: string;
  absolutePath: string;
  size: number;
  /** git's sha1 of the blob, which for an LFS file is its pointer. */
  oid: string;
  lfs: { oid: string; size: number; pointerSize: number } | null;
}

export interface BundledRepo {
  /** `organisation/name`. */
  id: string;
  /** Where nobody knows another: sha1 over the listing, so the same files always make the same commit. */
  commit: string;
  /** A name that is answered beside `main` and the commit. */
  revision?: string;
  /** Sorted by path. */
  files: BundledFile[];
}

/** Reads and hashes every regular file below `folder` once, streaming; links and dot files are left out. */
export async function scanRepo(folder: string, id: string): Promise<BundledRepo> {
  const files: BundledFile[] = [];
  for (const path of await pathsBelow(folder, '')) {
    const absolutePath = join(folder, path);
    const { size } = await stat(absolutePath);
    files.push(await describeFile({ path, absolutePath, size }, null));
  }
  return { id, commit: commitOf(files), files };
}

export function commitOf(files: readonly BundledFile[]): string {
  const lines = files.map(({ path, size, oid }) => `${path}\0${size}\0${oid}\n`);
  return createHash('sha1').update(lines.join('')).digest('hex');
}

/** The commit itself, or the one branch there is. */
export function isRevision(repo: BundledRepo, revision: string | undefined): boolean {
  return revision === repo.commit || revision === 'main' || revision === (repo.revision ?? 'main');
}

async function pathsBelow(folder: string, prefix: string): Promise<string[]> {
  const paths: string[] = [];
  const entries = await readdir(join(folder, prefix), { withFileTypes: true });
  for (const entry of entries) {
    if (entry.name.startsWith('.')) continue;
    const path = prefix === '' ? entry.name : `${prefix}/${entry.name}`;
    if (entry.isDirectory()) paths.push(...(await pathsBelow(folder, path)));
    else if (entry.isFile()) paths.push(path);
  }
  return paths.sort((a, b) => (a < b ? -1 : 1));
}

/** Whether the Hub keeps such a file in LFS, with a sha256, or in git. */
export function isLargeFile({ path, size }: Pick<BundledFile, 'path' | 'size'>): boolean {
  return /\.(safetensors|gguf)$/.test(path) || size > LFS_BYTES;
}

/** `hash`: sha256 or git's sha1 where it is known; null: the file is read, `onBytes` sees how far. */
export async function describeFile(
  file: Pick<BundledFile, 'path' | 'absolutePath' | 'size'>,
  hash: string | null,
  onBytes: (bytes: number) => void = () => undefined,
): Promise<BundledFile> {
  const { path, absolutePath, size } = file;
  const isLfs = hash === null ? isLargeFile(file) : hash.length === 64;
  const digest = hash ?? (await digestOf(file, isLfs, onBytes));
  if (!isLfs) return { path, absolutePath, size, oid: digest, lfs: null };
  const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${digest}\nsize ${size}\n`;
  const oid = createHash('sha1').update(`blob ${pointer.length}\0${pointer}`).digest('hex');
  return { path, absolutePath, size, oid, lfs: { oid: digest, size, pointerSize: pointer.length } };
}

async function digestOf(
  { absolutePath, size }: Pick<BundledFile, 'absolutePath' | 'size'>,
  isLfs: boolean,
  onBytes: (bytes: number) => void,
): Promise<string> {
  const hash = isLfs ? createHash('sha256') : createHash('sha1').update(`blob ${size}\0`);
  for await (const chunk of createReadStream(absolutePath, { highWaterMark: READ_BYTES })) {
    hash.update(chunk as Buffer);
    onBytes((chunk as Buffer).length);
  }
  return hash.digest('hex');
}
