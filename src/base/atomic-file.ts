// Whole files that are either as they were or as they shall be, whatever happens in between.

import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/** What a temporary file of `writeFileAtomic` is called; whoever owns the folder may sweep stale ones. */
export const PARTIAL_SUFFIX = '.partial';

/**
 * Replaces `path`: temporary file beside it, fsync, rename, fsync of the folder. Symbolic links are
 * replaced, never followed. After a crash either the old or the new content is there.
 */
export async function writeFileAtomic(
  path: string,
  data: string | Uint8Array,
  mode = 0o644,
): Promise<void> {
  const nonce = randomBytes(6).toString('hex');
  const temporary = join(dirname(path), `.${basename(path)}.${nonce}${PARTIAL_SUFFIX}`);
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  try {
    const file = await open(temporary, flags, mode);
    try {
      await file.writeFile(data);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    // A disk that won't write may not delete either; the first failure is the one to tell.
    await rm(temporary, { force: true }).catch(() => undefined);
    throw withPath(error, path);
  }
  await syncDirectory(dirname(path));
}

/** What a file handle throws doesn't say whose it is: the same with `path` in front of its message. */
export function withPath(error: unknown, path: string): unknown {
  if (!(error instanceof Error)) return error;
  const { code, path: known } = error as NodeJS.ErrnoException;
  if (code === undefined || known !== undefined) return error;
  return Object.assign(new Error(`${path}: ${error.message}`, { cause: error }), { code, path });
}

/** Makes renames, creations and deletions in a folder survive a power cut. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await directory.sync();
  } catch (error) {
    throw withPath(error, path);
  } finally {
    await directory.close();
  }
}

/** Makes a folder and those above it; each that is new survives a power cut. */
export async function makeDirectory(path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true });
  if (first === undefined) return;
  for (let made = path; ; made = dirname(made)) {
    await syncDirectory(dirname(made));
    if (made === first) return;
  }
}
