// Free space where it matters: on the volume that holds a path, which need not exist yet.

import { realpath, stat, statfs } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';

export interface Volume {
  /** The nearest existing folder at or above the path asked for, symbolic links resolved. */
  path: string;
  /** Equal for two paths iff they lie on the same mounted file system. */
  device: number;
  /** Bytes an unprivileged user may still write: the safe floor, without what a system may purge. */
  freeBytes: number;
  totalBytes: number;
}

/** The volume a file at `path` would be written to. */
export async function volumeOf(path: string): Promise<Volume> {
  const existing = await nearestExisting(resolve(path));
  const [{ dev }, fs] = await Promise.all([stat(existing), statfs(existing)]);
  return {
    path: existing,
    device: dev,
    freeBytes: fs.bavail * fs.bsize,
    totalBytes: fs.blocks * fs.bsize,
  };
}

async function nearestExisting(path: string): Promise<string> {
  for (let candidate = path; ; candidate = dirname(candidate)) {
    try {
      return await realpath(candidate);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if ((code !== 'ENOENT' && code !== 'ENOTDIR') || candidate === dirname(candidate)) {
        throw error;
      }
    }
  }
}
