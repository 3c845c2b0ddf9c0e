// How much a model's own programs, its template and the patterns of its tokenizer, may take. All of them are far
// above what any published model needs on a slow and busy machine.

import type { Stage } from './protocol.js';

export interface PromptLimits {
  /** Milliseconds until tokenizer and template are read. */
  loadMs: number;
  /** Milliseconds for one run of the template. */
  renderMs: number;
  /** Milliseconds for encoding: so many at all, and one more for every `charactersPerMs`. */
  encodeMs: number;
  charactersPerMs: number;
  /** Characters that a template may print. */
  characters: number;
  /** MiB of heap of the thread. */
  heapMiB: number;
}

export const PROMPT_LIMITS: PromptLimits = {
  loadMs: 120_000,
  renderMs: 10_000,
  encodeMs: 15_000,
  charactersPerMs: 50,
  characters: 32 << 20,
  heapMiB: 2048,
};

/** Milliseconds for a stage. */
export function timeFor(stage: Stage, limits: PromptLimits): number {
  switch (stage.stage) {
    case 'loading':
      return limits.loadMs;
    case 'rendering':
      return limits.renderMs;
    case 'encoding':
      return limits.encodeMs + stage.characters / limits.charactersPerMs;
  }
}
