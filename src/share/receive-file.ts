// One packed file from a share: 16 MiB blocks in any order into a partial file of its full length, then every block
// against its chain. What an earlier run left is found by the same check, so a kill costs blocks under way.

import { constants } from 'node:fs';
import { mkdir, open, rename, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { runJob } from '../addon/load.js';
import type { NativeAddon } from '../addon/types.js';
import { PARTIAL_SUFFIX, syncDirectory } from '../base/atomic-file.js';
import { asFlashmoeError, FlashmoeError } from '../base/errors.js';
import type { HubClient } from '../hub/client.js';
import type { HubTask, RepoListing } from '../hub/types.js';
import { BLOCK_BYTES } from '../repack/blocks.js';
import { fileSize } from '../store/disk-sizes.js';

export interface WantedFile {
  path: string;
  size: number;
  /** See NativeAddon.hashFile; it ends in the file's sha256. */
  chain: readonly string[];
  /** Absolute; its final name. */
  target: string;
}

export interface ReceiveTask extends HubTask {
  client: HubClient;
  listing: RepoListing;
  addon: NativeAddon;
  /** Every byte that arrives, and bytes of this file that are kept so far. */
  arrived: (bytes: number) => void;
  onProgress: (done: number) => void;
}

/**
 * Resolves when the file is whole under its final name. A block that is wrong is fetched once more. Throws
 * ERR_HASH naming it when it is wrong again, and an abort's reason with what arrived left in the partial file.
 */
export async function receiveFile(file: WantedFile, task: ReceiveTask): Promise<void> {
  const { path, size, target, chain } = file;
  const partial = target + PARTIAL_SUFFIX;
  // A run that was killed between the name and the journal's line left it under its name.
  if ((await fileSize(partial)) === null && (await fileSize(target)) === size) {
    if ((await badBlocks(target, file, task)).length === 0) return;
  }
  await mkdir(dirname(target), { recursive: true });
  const isNew = (await fileSize(partial)) === null;
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW;
  const handle = await open(partial, flags, 0o644).catch(rethrow);
  try {
    await handle.truncate(size).catch(rethrow);
    let bad = isNew ? chain.map((_, index) => index) : await badBlocks(partial, file, task);
    for (let attempt = 1; bad.length > 0; attempt += 1) {
      if (attempt > 2) throw wrongTwice(file, bad);
      if (attempt === 2) {
        const message = `${path}: block ${bad.join(', ')} came damaged; it is fetched again`;
        task.emit({ type: 'notice', message });
        task.client.source(task.listing, path).forget();
      }
      await fetchBlocks(handle, file, bad, task);
      await handle.sync().catch(rethrow);
      bad = await badBlocks(partial, file, task);
    }
  } finally {
    await handle.close();
  }
  await rename(partial, target).catch(rethrow);
  await syncDirectory(dirname(target)).catch(rethrow);
}

async function badBlocks(
  path: string,
  { chain }: WantedFile,
  { addon, signal }: ReceiveTask,
): Promise<number[]> {
  const job = addon.checkBlocks(path, chain, () => undefined);
  return (await runJob(job, signal)).bad;
}

async function fetchBlocks(
  handle: FileHandle,
  { path: file, size }: WantedFile,
  blocks: readonly number[],
  task: ReceiveTask,
): Promise<void> {
  const { client, listing, arrived, onProgress } = task;
  const ranges = blocks.map((block) => {
    const start = block * BLOCK_BYTES;
    return { file, start, end: Math.min(size, start + BLOCK_BYTES), at: start };
  });
  let kept = size - ranges.reduce((sum, { start, end }) => sum + end - start, 0);
  const put = async (at: number, chunks: Uint8Array[]): Promise<void> => {
    let to = at;
    for (const chunk of chunks) {
      for (let from = 0; from < chunk.length;) {
        const { bytesWritten } = await handle
          .write(chunk, from, chunk.length - from, to)
          .catch(rethrow);
        from += bytesWritten;
        to += bytesWritten;
      }
    }
    kept += to - at;
    onProgress(kept);
  };
  await client.fetch(listing, ranges, { put, arrived }, task);
}

function wrongTwice({ path, target }: WantedFile, bad: readonly number[]): FlashmoeError {
  return new FlashmoeError(
    'ERR_HASH',
    `${path}: block ${bad.join(', ')} of 16 MiB was wrong twice; the other blocks were kept in ${target}${PARTIAL_SUFFIX}`,
    {
      hint: '`flashmoe verify --repair` on the machine that shares it, then the same command here',
      subject: path,
    },
  );
}

function rethrow(error: unknown): never {
  throw asFlashmoeError(error);
}
