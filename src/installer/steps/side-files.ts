// Tokenizer, template and config files: fetched into the scratch folder, verified by the hub's hash, then
// moved to their final names. A few megabytes, so they come first and fail early.

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { makeDirectory, syncDirectory } from '../../base/atomic-file.js';
import type { RepoFile } from '../../hub/types.js';
import { fileSize } from '../disk-state.js';
import type { TransferTask } from '../transfer.js';
import { forwardHubEvent } from './planning.js';

/** Returns the bytes received in this run. */
export async function fetchSideFiles(task: TransferTask): Promise<{ downloadedBytes: number }> {
  const { plan, paths } = task;
  const missing = plan.stored.sideFiles.filter(({ path }) => !plan.state.copied.has(path));
  if (missing.length === 0) return { downloadedBytes: 0 };
  await makeDirectory(paths.download);
  let downloadedBytes = 0;
  for (const file of missing) downloadedBytes += await fetchOne(task, file);
  return { downloadedBytes };
}

async function fetchOne(task: TransferTask, { path: file, size }: RepoFile): Promise<number> {
  const { client, listing, paths, emit, signal, budget, journal, plan } = task;
  const scratch = join(paths.download, file);
  const to = {
    signal,
    emit: (event: Parameters<typeof forwardHubEvent>[0]) => {
      forwardHubEvent(event, emit);
    },
  };
  const need = (): Promise<number> => Promise.resolve(size);
  const { fetchedBytes } = await budget.patiently(file, need, signal, () =>
    client.download(listing, file, scratch, to),
  );
  const fact = { file, bytes: size, sha256: await hashFile(scratch) };
  await budget.patiently(file, need, signal, async () => {
    if ((await fileSize(scratch)) !== null) await rename(scratch, join(paths.root, file));
    await syncDirectory(paths.root);
  });
  await budget.patiently('the journal', need, signal, () =>
    journal.append({ step: 'copied', ...fact }),
  );
  plan.state.copied.set(file, fact);
  return fetchedBytes;
}

/** sha256 in hex. */
export async function hashFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}
