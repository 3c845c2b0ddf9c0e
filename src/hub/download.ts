// One file of a listing onto the disk: resumed from what an earlier run left, hashed as it passes, and
// under its final name only when the hash is the listing's. Sequential; range-plan.ts is where that can change.

import { FlashmoeError } from '../base/errors.js';
import { formatBytes } from '../base/format.js';
import { monotonic } from '../base/host.js';
import { createReadStream } from 'node:fs';
import { ContentHash } from './content-hash.js';
import { RangeIgnored, type FileSource } from './file-source.js';
import { PartialFile, regularFileSize } from './partial-file.js';
import { missingRanges } from './range-plan.js';
import { interruption, withRetries, type RetryPolicy } from './retry.js';
import type { HubTask, RepoFile, RepoListing } from './types.js';

const PROGRESS_EVERY_MS = 50;

export interface Download {
  source: FileSource;
  listing: RepoListing;
  file: RepoFile;
  /** Absolute; its folder is made if need be. The caller makes sure that nobody else writes there. */
  destination: string;
  policy: RetryPolicy;
}

export interface DownloadResult {
  /** Bytes of content received in this run. */
  fetchedBytes: number;
  /** Bytes that an earlier run had left. */
  resumedBytes: number;
}

/**
 * Resolves when `destination` holds the verified file. Throws FlashmoeError: ERR_HASH when two whole
 * fetches were wrong, ERR_DISK_FULL and ERR_INTERRUPTED with the partial kept, and what the hub refused.
 */
export async function downloadFile(job: Download, task: HubTask): Promise<DownloadResult> {
  const { file, destination, listing } = job;
  const size = await regularFileSize(destination);
  if (size === file.size && (await hashOfFile(destination, file, task)) === expectedHash(file)) {
    task.emit({ type: 'resumed', file: file.path, from: size, total: size });
    return { fetchedBytes: 0, resumedBytes: size };
  }
  if (size !== null) {
    // The old file stays until its verified successor takes the name.
    task.emit({ type: 'notice', message: `${destination} is not the file listed; it is replaced` });
  }
  const partial = await PartialFile.open(destination, listing, file);
  try {
    return await fillAndVerify(job, partial, task);
  } catch (error) {
    throw withFate(error, file, partial);
  } finally {
    await partial.close();
  }
}

async function fillAndVerify(
  job: Download,
  partial: PartialFile,
  task: HubTask,
): Promise<DownloadResult> {
  const { file, source } = job;
  const resumedBytes = partial.size;
  let fetchedBytes = 0;
  let earlierDigest: string | null = null;
  for (;;) {
    const run = await fill(job, partial, task);
    fetchedBytes += run.fetchedBytes;
    const { expected, algorithm } = run.hash;
    const digest = run.hash.digest();
    if (digest === expected) {
      await partial.promote();
      return { fetchedBytes, resumedBytes };
    }
    const difference = `${file.path}: ${algorithm} is ${digest}, where the listing says ${expected}`;
    if (earlierDigest !== null) {
      await partial.discard();
      throw wrongTwice(difference, digest === earlierDigest, file);
    }
    earlierDigest = digest;
    task.emit({ type: 'notice', message: `${difference}; it is fetched again` });
    await partial.clear();
    source.forget();
  }
}

/** Brings the partial to its full size. The returned hash has seen every byte of it. */
async function fill(
  { source, file, policy }: Download,
  partial: PartialFile,
  task: HubTask,
): Promise<{ hash: ContentHash; fetchedBytes: number }> {
  let hash = await hashOfPartial(partial, file, task);
  let fetchedBytes = 0;
  let ignored = 0;
  const progress = sampledProgress(file, task);
  await withRetries(file.path, policy, task, async (progressed) => {
    const [range = null] = missingRanges(file.size, [{ start: 0, end: partial.size }]);
    // What is complete needs no request; only a file of no bytes is asked for whole.
    if (range === null && file.size > 0) return;
    try {
      for await (const chunk of await source.open(range, task)) {
        await partial.append(chunk);
        hash.update(chunk);
        fetchedBytes += chunk.length;
        progressed();
        progress(partial.size);
      }
    } catch (error) {
      if (!(error instanceof RangeIgnored)) throw error;
      ignored += 1;
      if (ignored !== 2) throw error;
      // Ignored again after a fresh resolve: this server can only send the whole, so nothing can be kept.
      task.emit({
        type: 'notice',
        message: `${file.path}: the server ignores ranges; it is fetched from the start`,
      });
      await partial.clear();
      hash = new ContentHash(file);
      throw new RangeIgnored(error.failure, { waitMs: null });
    }
  });
  progress(partial.size, true);
  return { hash, fetchedBytes };
}

async function hashOfPartial(
  partial: PartialFile,
  file: RepoFile,
  task: HubTask,
): Promise<ContentHash> {
  const hash = new ContentHash(file);
  if (partial.size === 0) return hash;
  for await (const chunk of partial.read()) {
    if (task.signal.aborted) throw interruption(task.signal, file.path);
    hash.update(chunk);
  }
  task.emit({ type: 'resumed', file: file.path, from: partial.size, total: file.size });
  return hash;
}

async function hashOfFile(path: string, file: RepoFile, task: HubTask): Promise<string> {
  const hash = new ContentHash(file);
  for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 })) {
    if (task.signal.aborted) throw interruption(task.signal, file.path);
    hash.update(chunk as Buffer);
  }
  return hash.digest();
}

function expectedHash(file: RepoFile): string {
  return new ContentHash(file).expected;
}

function sampledProgress(file: RepoFile, task: HubTask): (done: number, last?: boolean) => void {
  let shownAt = -Infinity;
  return (done, last = false) => {
    const now = monotonic();
    if (!last && now - shownAt < PROGRESS_EVERY_MS) return;
    shownAt = now;
    task.emit({ type: 'progress', file: file.path, done, total: file.size });
  };
}

function wrongTwice(difference: string, same: boolean, file: RepoFile): FlashmoeError {
  return new FlashmoeError(
    'ERR_HASH',
    `${difference}; it was wrong twice and the damaged copy was deleted`,
    {
      subject: file.path,
      hint: same
        ? 'both fetches gave the same bytes: tell the owner of the repository, or unset HF_ENDPOINT if it names a mirror'
        : 'the two fetches differ: suspect the network, memory or disk of this machine, then run the command again',
    },
  );
}

/** Adds what became of the bytes to an error that ended the download. */
function withFate(error: unknown, file: RepoFile, partial: PartialFile): unknown {
  if (!(error instanceof FlashmoeError) || error.code === 'ERR_HASH') return error;
  const fate =
    partial.size === 0
      ? 'nothing was written'
      : `${formatBytes(partial.size)} of ${formatBytes(file.size)} were kept in the partial file`;
  const { hint, resumable, subject, cause } = error;
  return new FlashmoeError(error.code, `${error.message}; ${fate}`, {
    hint,
    resumable,
    subject,
    cause,
  });
}
