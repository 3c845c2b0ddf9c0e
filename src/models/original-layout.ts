// Names of checkpoints as their authors publish them, where MLX conversions have others. Families say in their own files
// what is only theirs.

import { type Projection, manifestName } from './names.js';

/** What a family's MLX conversions have otherwise than its original checkpoints. */
export interface OriginalFacts {
  /** Norms of the trunk, of layers, queries and keys are stored less 1. */
  normsLessOne?: true;
  /** Bits of routers and of the gates of shared experts; absent: they stay as they came. */
  gateBits?: number;
  /** Bits of everything else but the routed experts; absent: 4. */
  denseBits?: number;
}

const PREFIX = 'model.language_model.';

/** Name in model_weights.json, without the prefixes of wrappers. */
export function originalName(source: string): string {
  const name = manifestName(source);
  return name.startsWith(PREFIX) ? `model.${name.slice(PREFIX.length)}` : name;
}

/** Of one expert. w1, w2, w3 are what some authors call them. */
const ONE_EXPERT =
  /^(model\.layers\.(\d+)\.(?:.+\.)?experts\.)(\d+)\.(gate_proj|up_proj|down_proj|w1|w2|w3)\.(\w+)$/;
const BY_NUMBER: Readonly<Record<string, Projection>> = {
  w1: 'gate_proj',
  w2: 'down_proj',
  w3: 'up_proj',
};

/** All experts of a layer in one tensor: gate and up together, and down. */
const ALL_EXPERTS =
  /^model\.layers\.(\d+)\.(?:.+\.)?experts\.((?:gate_up|down)_proj(?:_blocks|_scales|_bias)?)$/;

export type OriginalExpert =
  | { kind: 'one'; layer: number; expert: number; projection: Projection; module: string; part: string }
  | { kind: 'all'; layer: number; part: string };

/** `name` is one of originalName; null for what is no routed expert's. */
export function parseOriginalExpert(name: string): OriginalExpert | null {
  const one = ONE_EXPERT.exec(name);
  if (one !== null) {
    const [, lead = '', layer, expert, which = '', part = ''] = one;
    const projection = BY_NUMBER[which] ?? (which as Projection);
    const module = `${lead}${expert ?? ''}.${which}`;
    return { kind: 'one', layer: Number(layer), expert: Number(expert), projection, module, part };
  }
  const all = ALL_EXPERTS.exec(name);
  return all === null ? null : { kind: 'all', layer: Number(all[1]), part: all[2] ?? '' };
}
