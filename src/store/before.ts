// A model that gives way to another width of itself, in place: its folder stands in the new one's from one rename on, so
// that at every moment there is one model that is whole or one that is being made, and `rm` knows all of both.

import { lstat, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { makeDirectory, syncDirectory } from '../base/atomic-file.js';
import { FlashmoeError } from '../base/errors.js';
import { acquireLock } from '../base/file-lock.js';
import { removeEmptyFolders } from '../base/owned-files.js';
import type { ModelPaths } from '../base/paths.js';
import { beforePaths, namesBefore } from './before-names.js';
import { SOURCE_MARK } from './model-files.js';
import { requireUnused } from './presence.js';
import { planRemoval, removeFiles } from './removal.js';

/** Throws ERR_USAGE where more than its width would be lost. */
export async function requireGivable(from: ModelPaths, to: ModelPaths): Promise<void> {
  const mark = await lstat(join(from.root, SOURCE_MARK)).catch(() => null);
  if (mark !== null) {
    throw new FlashmoeError('ERR_USAGE', `${from.root} keeps its checkpoint in source/`, {
      hint: 'leave --in-place away, or make the width of the checkpoint with `flashmoe setup --from`',
      subject: '--in-place',
    });
  }
  if (dirname(from.root) === dirname(to.root)) return;
  throw new FlashmoeError('ERR_USAGE', `${from.root} is not in the folder of the models`, {
    hint: 'leave --in-place away, or bring it back with `flashmoe mv` first',
    subject: '--in-place',
  });
}

/** Moves the folder `from` into that of `to`. ERR_LOCKED while a setup or a server has it. */
export async function takeOver(from: ModelPaths, to: ModelPaths): Promise<ModelPaths> {
  const before = beforePaths(to);
  await requireGivable(from, to);
  await (await acquireLock(from.lock)).release();
  await requireUnused(from);
  await makeDirectory(to.root);
  await rename(from.root, before.root);
  try {
    // A server may have come at the last moment; its lock came along.
    await requireUnused(before);
  } catch (error) {
    await rename(before.root, from.root);
    throw error;
  }
  await syncDirectory(to.root);
  await syncDirectory(dirname(from.root));
  return before;
}

/** What is left of it. Returns what is not ours, which stays. */
export async function removeBefore(
  paths: Pick<ModelPaths, 'root'>,
  signal: AbortSignal,
): Promise<string[]> {
  const before = beforePaths(paths);
  const names = await namesBefore(paths);
  if (names === null) return [];
  // The records that say what is ours go last: a run that is killed on the way goes on with them.
  const removal = await planRemoval(before, names.manifest ?? null, names.plan ?? null);
  const isRecord = (path: string): boolean => ['manifest.json', 'plan.json'].includes(path);
  const files = removal.files.toSorted(
    (a, b) => Number(isRecord(a.path)) - Number(isRecord(b.path)),
  );
  await removeFiles({ ...removal, files }, signal);
  await removeEmptyFolders(before.root);
  return removal.foreign;
}
