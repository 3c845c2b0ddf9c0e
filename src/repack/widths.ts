// Which projections of which layers keep their width when the others become 2 bits. Pure.

import { FlashmoeError } from '../base/errors.js';
import { formatBytes } from '../base/format.js';
import type { Projection } from '../models/names.js';
import type { Quant } from '../models/quant.js';

/** Layers whose projections have a choice. */
export type Choosable = readonly { layer: number; projections: readonly { name: Projection }[] }[];

/** Layer → projections that stay as they are. */
export type KeptWidths = ReadonlyMap<number, ReadonlySet<Projection>>;

/**
 * Most harmed first: distance of the logits from the 4-bit model's when only this projection is narrow, on the
 * bundled model (docs/quantisation.md has figures and command).
 */
export const SENSITIVITY: readonly Projection[] = ['down_proj', 'gate_proj', 'up_proj'];

export interface Budget {
  /** Of everything that is written; null: the most sensitive projection of each layer is kept. */
  size: number | null;
  /** Bytes that a choice comes to. */
  bytesOf: (kept: KeptWidths) => number;
}

/** Throws ERR_USAGE when not even two bits everywhere are within the budget. */
export function chooseWidths(
  routed: Choosable,
  quant: Quant,
  { size, bytesOf }: Budget,
): KeptWidths {
  const all = (names: (layer: Choosable[number]) => readonly Projection[]): KeptWidths =>
    new Map(routed.map((layer) => [layer.layer, new Set(names(layer))]));
  const everything = all(({ projections }) => projections.map(({ name }) => name));
  const nothing = all(() => []);
  if (quant === '4bit') return everything;
  if (quant !== 'mixed') return nothing;
  if (size === null) return all(() => SENSITIVITY.slice(0, 1));
  if (bytesOf(everything) <= size) return everything;
  const least = bytesOf(nothing);
  if (least > size) {
    throw new FlashmoeError(
      'ERR_USAGE',
      `${formatBytes(size)} are too few: with 2 bits everywhere the model has ${formatBytes(least)}`,
      { hint: `--size ${formatBytes(Math.ceil(least / 1e8) * 1e8).replace(' ', '')} or more` },
    );
  }
  return fill(ranked(routed), size, bytesOf);
}

interface Unit {
  layer: number;
  projection: Projection;
}

/** One projection after the other, each from the first layer to the last. */
function ranked(routed: Choosable): Unit[] {
  return SENSITIVITY.flatMap((projection) =>
    routed.map(({ layer }): Unit => ({ layer, projection })),
  );
}

/** The longest beginning of the ranking that fits; what it costs is asked, because experts are padded to pages. */
function fill(units: readonly Unit[], size: number, bytesOf: Budget['bytesOf']): KeptWidths {
  const first = (count: number): KeptWidths => {
    const kept = new Map<number, Set<Projection>>();
    for (const { layer, projection } of units.slice(0, count)) {
      kept.set(layer, (kept.get(layer) ?? new Set<Projection>()).add(projection));
    }
    return kept;
  };
  return first(longestThatFits(units.length, (count) => bytesOf(first(count)) <= size));
}

/** The most of `count` that fit, where 0 fit and more take more. */
export function longestThatFits(count: number, isFitting: (count: number) => boolean): number {
  let [fits, tooMany] = [0, count + 1];
  while (tooMany - fits > 1) {
    const middle = (fits + tooMany) >> 1;
    if (isFitting(middle)) fits = middle;
    else tooMany = middle;
  }
  return fits;
}
