// What an answer may say next, from its first token on. The thinking part is free; it only may not end the
// answer or begin a call, because the grammar begins behind it.

import type { GrammarRun } from './host.js';

export class Constraint {
  /** @param thinking bits of the tokens that the thinking part may hold */
  constructor(
    private readonly run: GrammarRun,
    private readonly thinking: Int32Array,
  ) {}

  async allowed(inReasoning: boolean): Promise<Int32Array | null> {
    return inReasoning ? this.thinking : await this.run.mask();
  }

  chosen(id: number, inReasoning: boolean): void {
    if (!inReasoning) this.run.accept(id);
  }

  get timings(): { compileSeconds: number; maskSeconds: number; masks: number } {
    const { compileSeconds, seconds, masks } = this.run;
    return { compileSeconds, maskSeconds: seconds, masks };
  }
}

/** One bit for each of `count` tokens, those of `without` clear. */
export function allBut(without: Iterable<number>, count: number): Int32Array {
  const words = new Int32Array(Math.ceil(count / 32)).fill(-1);
  for (const id of without) words[id >> 5] = (words[id >> 5] ?? 0) & ~(1 << (id & 31));
  return words;
}
