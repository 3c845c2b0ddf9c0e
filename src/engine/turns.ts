// Where a prompt's messages end: other prompts are likely to begin with everything up to there. A token, not a
// text, decides, because what stands before a control token is encoded the same whatever follows.

import { agreement } from './state-store.js';

/** Below this a template need not be rendered once more to find where another prompt would leave this one. */
const WORTH_RENDERING = 1024;

/** Prompts that others are likely to be like; asked for only where it pays. null where there is none. */
export interface Alike {
  /** As it is when another question follows it. */
  withNextQuestion: () => Promise<readonly number[] | null>;
  /** Of other conversations with the same tools. */
  withOtherSystem: () => Promise<readonly (readonly number[])[]>;
}

/**
 * Lengths, in order of worth: behind the tools, which all conversations of a client share; behind the first message,
 * which those of one project share; where the next question would leave the prompt; behind the last message, where
 * the answer begins; behind the other messages, the last first.
 */
export async function turnMarks(
  prompt: readonly number[],
  ends: ReadonlySet<number>,
  cached: number,
  alike: Alike,
): Promise<number[]> {
  const lengths = prompt.flatMap((id, i) => (ends.has(id) && i + 1 < prompt.length ? [i + 1] : []));
  const marks: (number | undefined)[] = [];
  const isLong = prompt.length - cached >= WORTH_RENDERING;
  const [first] = lengths;
  if (isLong && first !== undefined && cached < first) {
    const others = await alike.withOtherSystem();
    const shared = others.map((other) => agreement(prompt, other));
    if (shared.length > 0) marks.push(Math.min(...shared));
  }
  marks.push(first);
  if (isLong) {
    const next = await alike.withNextQuestion();
    const departs = next === null ? -1 : agreement(prompt, next);
    marks.push(lengths.findLast((length) => length <= departs));
  }
  marks.push(...lengths.reverse());
  return [...new Set(marks)].filter(
    (length) => length !== undefined && length > cached,
  ) as number[];
}
