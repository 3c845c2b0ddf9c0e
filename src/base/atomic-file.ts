// Whole files that are either as they were or as they shall be, whatever happens in between.

import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
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
    await rm(temporary, { force: true });
    throw error;
  }
  await syncDirectory(dirname(path));
}

/** Makes renames, creations and deletions in a folder survive a power cut. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
