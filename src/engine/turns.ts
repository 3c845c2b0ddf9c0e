// Where a prompt's messages end: other prompts are likely to begin with everything up to there. A token, not a
// text, decides, because what stands before a control token is encoded the same whatever follows.

/** Below this a template need not be rendered once more to find where a new question would leave the prompt. */
const WORTH_RENDERING = 1024;

/**
 * Lengths, in order of worth: behind the first message, which conversations share; where the next question would
 * leave the prompt; behind the last message, where the answer begins.
 */
export async function turnMarks(
  prompt: readonly number[],
  ends: ReadonlySet<number>,
  cached: number,
  /** The prompt as it is when another question follows it; asked for only where it pays. */
  withNextQuestion: () => Promise<readonly number[] | null>,
): Promise<number[]> {
  const lengths = prompt.flatMap((id, i) => (ends.has(id) && i + 1 < prompt.length ? [i + 1] : []));
  const marks = [lengths[0]];
  if (prompt.length - cached >= WORTH_RENDERING) {
    const next = await withNextQuestion();
    const departs = next === null ? -1 : prompt.findIndex((id, i) => next[i] !== id);
    marks.push(lengths.findLast((length) => length <= departs));
  }
  marks.push(lengths.at(-1));
  return [...new Set(marks)].filter(
    (length) => length !== undefined && length > cached,
  ) as number[];
}
