// One file of a repository, whole and verified, through pauses, full disks and networks that go away.

import { PARTIAL_SUFFIX } from '../base/atomic-file.js';
import type { HubEvent, RepoFile, RepoListing } from '../hub/types.js';
import { fileSize } from '../store/disk-sizes.js';
import { forwardHubEvent } from './hub-events.js';
import type { TransferTask } from './transfer-task.js';

/** Returns the bytes that were missing at `destination`. The folder is made and synced; the hash was the listing's. */
export async function fetchWhole(
  { client, gate, budget, emit }: TransferTask,
  listing: RepoListing,
  { path, size }: Pick<RepoFile, 'path' | 'size'>,
  destination: string,
  signal: AbortSignal,
): Promise<number> {
  const missing = async (): Promise<number> => {
    const here = (await fileSize(destination)) ?? (await fileSize(destination + PARTIAL_SUFFIX));
    return Math.max(0, size - (here ?? 0));
  };
  const tell = (event: HubEvent): void => {
    if (event.type === 'progress') {
      const { file: item, done, total } = event;
      emit({ type: 'progress', step: 'fetch', item, done, total });
    } else forwardHubEvent(event, emit);
  };
  const toFetch = await missing();
  for (;;) {
    await gate.pass(signal);
    await budget.waitForRoom(await missing(), path, signal);
    const closing = gate.signal;
    const until = AbortSignal.any([signal, closing]);
    try {
      await budget.patiently(path, missing, until, () =>
        client.download(listing, path, destination, { signal: until, emit: tell }),
      );
      return toFetch;
    } catch (error) {
      // A pause let go of the connection; the partial file goes on where it was.
      if (!closing.aborted || signal.aborted) throw error;
    }
  }
}
