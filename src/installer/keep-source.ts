// The checkpoint itself, kept beside the model that is made of it: shards whole, index, config and tokenizer, each held
// against the hub's hash before it gets its name. It comes first; then the model is made of these files.

import { dirname, join } from 'node:path';
import {
  makeDirectory,
  PARTIAL_SUFFIX,
  syncDirectory,
  writeFileAtomic,
} from '../base/atomic-file.js';
import type { HubEvent, RepoFile, RepoListing } from '../hub/types.js';
import { fileSize } from './disk-state.js';
import { INDEX_FILE, SOURCE_MARK, sourceFolder } from './model-files.js';
import { forwardHubEvent, hubTask } from './steps/planning.js';
import { listingOf } from './stored-plan.js';
import type { TransferTask } from './transfer.js';

/** Fetches what is missing of the checkpoint. Returns the bytes received; a file with its final name was verified. */
export async function keepSource(task: TransferTask): Promise<{ downloadedBytes: number }> {
  const { plan, paths, client, emit } = task;
  const folder = sourceFolder(paths);
  const { pack, revision } = plan.stored;
  const listing = listingOf(plan.stored);
  let downloadedBytes = 0;
  await makeDirectory(folder);
  await writeFileAtomic(join(paths.root, SOURCE_MARK), '');
  const missing: RepoFile[] = [];
  for (const file of listing.files) {
    if ((await fileSize(join(folder, file.path))) !== file.size) missing.push(file);
  }
  for (const file of missing) {
    downloadedBytes += await fetchOne(task, listing, file, join(folder, file.path));
  }
  // The plan doesn't hold the index; one shard needs none.
  const index = join(folder, INDEX_FILE);
  if (pack.shards.length > 1 && (await fileSize(index)) === null) {
    const all = await client.listAt(pack.repo, revision, pack.commit, hubTask(task));
    const file = all.files.find(({ path }) => path === INDEX_FILE);
    if (file !== undefined) downloadedBytes += await fetchOne(task, all, file, index);
  }
  if (downloadedBytes > 0) emit({ type: 'notice', message: `the checkpoint is kept in ${folder}` });
  return { downloadedBytes };
}

async function fetchOne(
  { client, gate, budget, emit, signal }: TransferTask,
  listing: RepoListing,
  { path, size }: RepoFile,
  destination: string,
): Promise<number> {
  await makeDirectory(dirname(destination));
  const missing = async (): Promise<number> =>
    Math.max(0, size - ((await fileSize(destination + PARTIAL_SUFFIX)) ?? 0));
  for (;;) {
    await gate.pass(signal);
    await budget.waitForRoom(await missing(), path, signal);
    const closing = gate.signal;
    const until = AbortSignal.any([signal, closing]);
    const to = {
      signal: until,
      emit: (event: HubEvent) => {
        if (event.type === 'progress') {
          const { file: item, done, total } = event;
          emit({ type: 'progress', step: 'fetch', item, done, total });
        } else forwardHubEvent(event, emit);
      },
    };
    try {
      const { fetchedBytes } = await budget.patiently(path, missing, until, () =>
        client.download(listing, path, destination, to),
      );
      await syncDirectory(dirname(destination));
      await budget.sample();
      return fetchedBytes;
    } catch (error) {
      // A pause let go of the connection; the partial file goes on where it was.
      if (!closing.aborted || signal.aborted) throw error;
    }
  }
}
