// The checkpoint itself, kept beside the model that is made of it: shards whole, index, config and tokenizer, each held
// against the hub's hash before it gets its name. It comes first; then the model is made of these files.

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { makeDirectory, PARTIAL_SUFFIX, writeFileAtomic } from '../base/atomic-file.js';
import { FlashmoeError } from '../base/errors.js';
import { fileSize } from '../store/disk-sizes.js';
import { INDEX_FILE, SOURCE_MARK, sourceFolder } from '../store/model-files.js';
import { hubTask } from './hub-events.js';
import { listingOf } from '../store/stored-plan.js';
import type { TransferTask } from './transfer-task.js';
import { fetchWhole } from './whole-file.js';

/**
 * Fetches what is missing of the checkpoint; a file with its final name was verified. Returns the bytes received.
 * ERR_HOME when something that is not ours is in its folder.
 */
export async function keepSource(task: TransferTask): Promise<{ downloadedBytes: number }> {
  const { plan, paths, client, emit, signal } = task;
  const { pack, revision } = plan.stored;
  const folder = sourceFolder(paths);
  await claim(folder, join(paths.root, SOURCE_MARK));
  let downloadedBytes = 0;
  const listing = listingOf(plan.stored);
  for (const file of listing.files) {
    const path = join(folder, file.path);
    if ((await fileSize(path)) === file.size) continue;
    downloadedBytes += await fetchWhole(task, listing, file, path, signal);
    await task.budget.sample();
  }
  // The plan doesn't hold the index; one shard needs none.
  const index = join(folder, INDEX_FILE);
  if (pack.shards.length > 1 && (await fileSize(index)) === null) {
    const all = await client.listAt(pack.repo, revision, pack.commit, hubTask(task));
    const file = all.files.find(({ path }) => path === INDEX_FILE);
    if (file !== undefined) downloadedBytes += await fetchWhole(task, all, file, index, signal);
  }
  if (downloadedBytes > 0) emit({ type: 'notice', message: `the checkpoint is kept in ${folder}` });
  return { downloadedBytes };
}

/** Marks the folder as ours; what a person put there before is neither taken over nor written into. */
async function claim(folder: string, mark: string): Promise<void> {
  if ((await fileSize(mark)) !== null) return;
  await makeDirectory(folder);
  const others = (await readdir(folder)).filter((name) => !name.endsWith(PARTIAL_SUFFIX));
  if (others.length > 0) {
    throw new FlashmoeError('ERR_HOME', `${folder} has files that no setup put there`, {
      hint: 'move them away, or leave --keep-source away',
      subject: folder,
    });
  }
  await writeFileAtomic(mark, '');
}
