// Byte-pair encoding by rank: join the adjacent pair whose concatenation has the lowest rank, the
// leftmost of equals, until none is ranked. A heap keeps hostile 25,000-byte words at n log n.

/** [rank, left part, right part, serial of each when pushed] */
interface Candidate {
  rank: number;
  left: number;
  leftEnd: number;
  rightEnd: number;
}

/**
 * @param word one byte a character (latin1); every single byte must be ranked
 * @param ranks id by byte string
 */
export function joinByRank(word: string, ranks: ReadonlyMap<string, number>): number[] {
  const whole = ranks.get(word);
  if (whole !== undefined) return [whole];
  // Part i covers word[i, end[i]); parts that were swallowed have end 0.
  const end = Int32Array.from({ length: word.length }, (_, i) => i + 1);
  const before = Int32Array.from({ length: word.length }, (_, i) => i - 1);
  const heap: Candidate[] = [];
  const offer = (left: number): void => {
    const right = end[left] ?? word.length;
    if (left < 0 || right >= word.length) return;
    const rightEnd = end[right] ?? 0;
    const rank = ranks.get(word.slice(left, rightEnd));
    if (rank !== undefined) push(heap, { rank, left, leftEnd: right, rightEnd });
  };
  for (let i = 0; i + 1 < word.length; i++) offer(i);
  for (let best = pop(heap); best !== undefined; best = pop(heap)) {
    const { left, leftEnd, rightEnd } = best;
    if (end[left] !== leftEnd || end[leftEnd] !== rightEnd) continue;
    end[left] = rightEnd;
    end[leftEnd] = 0;
    if (rightEnd < word.length) before[rightEnd] = left;
    offer(before[left] ?? -1);
    offer(left);
  }
  const ids: number[] = [];
  for (let i = 0; i < word.length; i = end[i] ?? word.length) {
    const id = ranks.get(word.slice(i, end[i]));
    if (id !== undefined) ids.push(id);
  }
  return ids;
}

function precedes(a: Candidate, b: Candidate): boolean {
  return a.rank !== b.rank ? a.rank < b.rank : a.left < b.left;
}

function push(heap: Candidate[], item: Candidate): void {
  let at = heap.push(item) - 1;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    const above = heap[parent];
    if (above === undefined || !precedes(item, above)) break;
    heap[at] = above;
    at = parent;
  }
  heap[at] = item;
}

function pop(heap: Candidate[]): Candidate | undefined {
  const top = heap[0];
  const last = heap.pop();
  if (last === undefined || heap.length === 0) return top;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    const left = heap[child];
    const right = heap[child + 1];
    if (left === undefined) break;
    const least = right !== undefined && precedes(right, left) ? right : left;
    if (least === right) child++;
    if (!precedes(least, last)) break;
    heap[at] = least;
    at = child;
  }
  heap[at] = last;
  return top;
}
