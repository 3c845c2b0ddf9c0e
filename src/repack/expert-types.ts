// What the experts of a GGUF model are stored in. Pure.

import { blockMode } from '../models/gguf/blocks.js';
import type { PackPlan } from './types.js';

/** Types as GGUF calls them, that with the most bytes first; empty where no expert is in blocks. */
export function expertTypes({ layers, layouts }: Pick<PackPlan, 'layers' | 'layouts'>): string[] {
  const bytes = new Map<string, number>();
  for (const { layout, experts } of layers) {
    for (const { name, size, mode = '', dtype } of layouts[layout]?.components ?? []) {
      if (!name.endsWith('.weight')) continue;
      const type = blockMode(mode) === null ? dtype : mode.toUpperCase();
      bytes.set(type, (bytes.get(type) ?? 0) + size * experts);
    }
  }
  const types = [...bytes].sort(([, a], [, b]) => b - a).map(([type]) => type);
  return types.some((type) => blockMode(type) !== null) ? types : [];
}
