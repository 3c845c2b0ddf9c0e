// How many connections pay off. Pure: what a stretch of time brought in, the number for the next one out.

export interface ConnectionCount {
  count: number;
  /** Bytes a second with one step fewer connections; null before anything is known. */
  rateBefore: number | null;
  /** Stretches left before more are tried again. */
  rest: number;
}

export const MOST_CONNECTIONS = 16;
const FIRST_CONNECTIONS = 4;
const STEP = 2;
/** Less than this is noise, and not worth a server's attention. */
const WORTHWHILE = 1.05;
const REST = 15;

export function firstCount(most: number): ConnectionCount {
  return { count: Math.min(most, FIRST_CONNECTIONS), rateBefore: null, rest: 0 };
}

/**
 * Grows by steps for as long as a step raises the rate by a twentieth; goes back after one that did not and
 * tries again later; halves after a stretch in which connections failed.
 */
export function nextCount(
  { count, rateBefore, rest }: ConnectionCount,
  stretch: { rate: number; failures: number },
  most: number,
): ConnectionCount {
  const { rate, failures } = stretch;
  if (failures > 0) return { count: Math.max(1, count >> 1), rateBefore: null, rest: REST };
  if (rest > 0) return { count, rateBefore: null, rest: rest - 1 };
  if (rateBefore !== null && rate < rateBefore * WORTHWHILE) {
    return { count: Math.max(1, count - STEP), rateBefore: null, rest: REST };
  }
  if (count >= most) return { count: most, rateBefore: null, rest: REST };
  return { count: Math.min(most, count + STEP), rateBefore: rate, rest: 0 };
}
