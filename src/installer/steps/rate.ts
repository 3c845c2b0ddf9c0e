// How fast the line to a repository is, from a few megabytes of a shard that will be fetched anyway.

import { asFlashmoeError } from '../../base/errors.js';
import { monotonic } from '../../base/host.js';
import type { HubClient } from '../../hub/client.js';
import type { RepoListing } from '../../hub/types.js';

/** First a little, which also finds the way to the bytes; more only when that was quick. */
const FIRST_BYTES = 1 << 20;
const QUICK_SECONDS = 1;
const MORE_BYTES = 24 << 20;

/** Bytes a second; null when it could not be measured, which is no reason to stop. */
export async function measureRate(
  client: HubClient,
  listing: RepoListing,
  shard: string | undefined,
  signal: AbortSignal,
): Promise<number | null> {
  const size = listing.files.find(({ path }) => path === shard)?.size ?? 0;
  if (shard === undefined || size === 0) return null;
  const read = async (
    start: number,
    bytes: number,
  ): Promise<{ bytes: number; seconds: number }> => {
    const length = Math.min(bytes, size - start);
    const began = monotonic();
    await client.readRange(listing, shard, start, length, { signal, emit: () => undefined });
    return { bytes: length, seconds: (monotonic() - began) / 1000 };
  };
  try {
    const first = await read(0, FIRST_BYTES);
    const more =
      first.seconds < QUICK_SECONDS && size > FIRST_BYTES
        ? await read(FIRST_BYTES, MORE_BYTES)
        : first;
    return more.seconds > 0 ? more.bytes / more.seconds : null;
  } catch (thrown) {
    if (signal.aborted) throw asFlashmoeError(thrown);
    return null;
  }
}
