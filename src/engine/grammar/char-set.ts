// Sets of Unicode characters, as sorted ranges of code points that neither touch nor overlap.

export type CharSet = readonly (readonly [first: number, last: number])[];

const LAST = 0x10ffff;
export const NO_CHAR: CharSet = [];
/** Without surrogates, which no UTF-8 text has. */
export const ANY_CHAR: CharSet = [
  [0, 0xd7ff],
  [0xe000, LAST],
];

/** Of ranges in any order, overlapping or not. */
export function charSet(ranges: Iterable<readonly [number, number]>): CharSet {
  const result: [number, number][] = [];
  for (const [first, last] of [...ranges].sort((a, b) => a[0] - b[0])) {
    const before = result.at(-1);
    if (before !== undefined && first <= before[1] + 1) before[1] = Math.max(before[1], last);
    else result.push([first, last]);
  }
  return result;
}

export function charsOf(text: string): CharSet {
  return charSet(Array.from(text, (char) => [codeOf(char), codeOf(char)] as const));
}

export function union(...sets: readonly CharSet[]): CharSet {
  return charSet(sets.flat());
}

export function intersection(left: CharSet, right: CharSet): CharSet {
  const result: [number, number][] = [];
  for (let i = 0, j = 0; i < left.length && j < right.length;) {
    const [a, b] = [left[i] ?? [0, 0], right[j] ?? [0, 0]];
    const [first, last] = [Math.max(a[0], b[0]), Math.min(a[1], b[1])];
    if (first <= last) result.push([first, last]);
    if (a[1] < b[1]) i++;
    else j++;
  }
  return result;
}

export function complement(set: CharSet): CharSet {
  const result: [number, number][] = [];
  let next = 0;
  for (const [first, last] of set) {
    if (first > next) result.push([next, first - 1]);
    next = last + 1;
  }
  if (next <= LAST) result.push([next, LAST]);
  return intersection(result, ANY_CHAR);
}

export function without(set: CharSet, other: CharSet): CharSet {
  return intersection(set, complement(other));
}

export function hasChar(set: CharSet, code: number): boolean {
  return set.some(([first, last]) => first <= code && code <= last);
}

export function codeOf(char: string): number {
  return char.codePointAt(0) ?? 0;
}

/** Equal for equal sets. */
export function keyOf(set: CharSet): string {
  return set.map((range) => range.join('-')).join();
}

/** Of ECMAScript's \s. */
export const SPACES: CharSet = charSet([
  [0x09, 0x0d],
  [0x20, 0x20],
  [0xa0, 0xa0],
  [0x1680, 0x1680],
  [0x2000, 0x200a],
  [0x2028, 0x2029],
  [0x202f, 0x202f],
  [0x205f, 0x205f],
  [0x3000, 0x3000],
  [0xfeff, 0xfeff],
]);
