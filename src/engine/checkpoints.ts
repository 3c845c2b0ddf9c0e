// At which lengths of a prompt its state is marked, so that another prompt can go on from there. Caches can be cut
// anywhere; what is fixed in size can't, and is copied: for it every mark costs its whole size.

const MB = 2 ** 20;
/** Up to this a copy is cheap: then one stands in every stretch of a few tokens. */
const CHEAP_BYTES = 8 * MB;
const LONGEST_STRETCH = 4096;

/** As native/core/session.cpp: what copies may take together, but never fewer than FEWEST. */
const MARK_BYTES = 768 * MB;
const FEWEST = 4;

/**
 * Lengths to mark while [cached, length) is read.
 * @param turns where others are likely to depart, in order of worth
 * @param fixedBytes of one copy; 0 where caches are all
 */
export function checkpoints(
  length: number,
  cached: number,
  turns: readonly number[],
  fixedBytes: number,
): number[] {
  const isCheap = fixedBytes <= CHEAP_BYTES;
  const stretch = fixedBytes <= 2 * MB ? 128 : isCheap ? 256 : LONGEST_STRETCH;
  const grid: number[] = [];
  if (fixedBytes > 0) {
    const first = (Math.floor(cached / stretch) + 1) * stretch;
    for (let at = first; at <= length; at += stretch) grid.push(at);
  }
  const all = [...new Set([...turns, ...grid])].filter((at) => at > cached && at <= length);
  return isCheap ? all : all.slice(0, Math.max(FEWEST, Math.floor(MARK_BYTES / fixedBytes)));
}
