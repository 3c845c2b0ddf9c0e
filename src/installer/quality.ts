// How far requantised weights are from their source: sums beside the journal's lines, and figures from them. Pure.

import { z } from 'zod';
import type { ProjectionError } from '../addon/types.js';
import { PROJECTIONS, type Projection } from '../models/names.js';
import type { Tape } from '../repack/tape.js';
import type { PackPlan } from '../repack/types.js';

const sum = z.number().nonnegative();
const count = z.number().int().nonnegative();

/** Of one projection of one layer; see ProjectionError. */
export const requantised = z.object({
  layer: count,
  projection: z.enum(PROJECTIONS),
  squaredError: sum,
  rangeError: sum,
  squaredDeviation: sum,
  values: count,
});

export type Requantised = z.infer<typeof requantised>;

export interface ProjectionQuality {
  layer: number;
  projection: Projection;
  /** Root of squared error over squared deviation from the mean. */
  relativeRmse: number;
  /** What 2-bit codes over the range of each group would leave on the same values. */
  rangeRelativeRmse: number;
  /** Part of the values that this is about: less where a setup was interrupted in the middle of them. */
  measured: number;
}

type Plan = Pick<PackPlan, 'layers' | 'layouts'>;

/** Names what the items [from, to) of a tape requantised; `errors` are the sums by item. */
export function requantisedBetween(
  { tape, plan }: { tape: Pick<Tape, 'items' | 'files'>; plan: Plan },
  [from, to]: readonly [number, number],
  errors: readonly ({ item: number } & ProjectionError)[],
): Requantised[] {
  return errors.flatMap(({ item, ...sums }) => {
    const entry = tape.items[item];
    if (item < from || item >= to || entry?.type !== 'bytes') return [];
    const { place } = entry;
    const file = place.kind === 'requantise' ? tape.files[place.file] : undefined;
    if (place.kind !== 'requantise' || file?.kind !== 'layer') return [];
    return named(plan, file.layer, place.offsets.weight, sums);
  });
}

/** The same for all projections of a layer, in the plan's order; those whose bytes were copied are left out. */
export function requantisedLayer(
  plan: Plan,
  layer: number,
  errors: readonly ProjectionError[],
): Requantised[] {
  const projections = plan.layers.find((each) => each.layer === layer)?.projections ?? [];
  return projections.flatMap(({ sourceBits, targetBits, targetOffsets }, index) => {
    const sums = errors[index];
    if (sums === undefined || sourceBits === targetBits) return [];
    return named(plan, layer, targetOffsets.weight, sums);
  });
}

/** In the order of layers and of an expert's projections. */
export function qualityOf(plan: Plan, sums: Iterable<Requantised>): ProjectionQuality[] {
  return [...sums]
    .map(({ layer, projection, ...of }) => ({
      layer,
      projection,
      relativeRmse: Math.sqrt(of.squaredError / of.squaredDeviation),
      rangeRelativeRmse: Math.sqrt(of.rangeError / of.squaredDeviation),
      measured: of.values / valuesOf(plan, layer, projection),
    }))
    .sort(
      (a, b) =>
        a.layer - b.layer || PROJECTIONS.indexOf(a.projection) - PROJECTIONS.indexOf(b.projection),
    );
}

/** Over all of them together. */
export function overall(sums: readonly Requantised[]): {
  relativeRmse: number;
  rangeRelativeRmse: number;
} {
  const add = (key: 'squaredError' | 'rangeError' | 'squaredDeviation'): number =>
    sums.reduce((total, each) => total + each[key], 0);
  const deviation = add('squaredDeviation');
  return {
    relativeRmse: Math.sqrt(add('squaredError') / deviation),
    rangeRelativeRmse: Math.sqrt(add('rangeError') / deviation),
  };
}

function named(plan: Plan, layer: number, offset: number, sums: ProjectionError): Requantised[] {
  const of = plan.layers.find((each) => each.layer === layer);
  const components = plan.layouts[of?.layout ?? NaN]?.components ?? [];
  const projection = PROJECTIONS.find((each) =>
    components.some(({ name, offset: at }) => at === offset && name === `${each}.weight`),
  );
  return projection === undefined ? [] : [{ layer, projection, ...sums }];
}

function valuesOf(plan: Plan, layer: number, projection: Projection): number {
  const of = plan.layers.find((each) => each.layer === layer);
  const { rows = 0, columns = 0 } = of?.projections[PROJECTIONS.indexOf(projection)] ?? {};
  return (of?.experts ?? 0) * rows * columns;
}
