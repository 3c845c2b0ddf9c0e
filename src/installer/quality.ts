// How far requantised weights are from their source: sums beside the journal's lines, and figures from them. Pure.

import { z } from 'zod';
import type { ProjectionError } from '../addon/types.js';
import { PROJECTIONS, type Projection } from '../models/names.js';
import type { Tape } from '../repack/tape.js';
import type { PackPlan } from '../repack/types.js';
import type { WeightErrors } from './events.js';

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
  /** Null where nothing is known. */
  errors: WeightErrors | null;
  /** Part of the values that this is about, 0 to 1: less where a setup was interrupted in the middle of them. */
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

/** Of every projection that the plan requantises, in its order. */
export function qualityOf(plan: Plan, sums: readonly Requantised[]): ProjectionQuality[] {
  return plan.layers.flatMap(({ layer, experts, projections }) =>
    projections.flatMap(({ sourceBits, targetBits, targetOffsets, rows, columns }) => {
      const projection = projectionAt(plan, layer, targetOffsets.weight);
      if (sourceBits === targetBits || projection === undefined) return [];
      const own = sums.filter((each) => each.layer === layer && each.projection === projection);
      const values = own.reduce((sum, each) => sum + each.values, 0);
      return [
        { layer, projection, errors: overall(own), measured: values / (experts * rows * columns) },
      ];
    }),
  );
}

/** Over all of them together; null where there are none. */
export function overall(sums: readonly Requantised[]): WeightErrors | null {
  const add = (key: 'squaredError' | 'rangeError' | 'squaredDeviation'): number =>
    sums.reduce((total, each) => total + each[key], 0);
  const deviation = add('squaredDeviation');
  if (deviation === 0) return null;
  return {
    relativeRmse: Math.sqrt(add('squaredError') / deviation),
    rangeRelativeRmse: Math.sqrt(add('rangeError') / deviation),
  };
}

function named(plan: Plan, layer: number, offset: number, sums: ProjectionError): Requantised[] {
  const projection = projectionAt(plan, layer, offset);
  return projection === undefined ? [] : [{ layer, projection, ...sums }];
}

/** Whose weights begin at `offset` of each expert. */
function projectionAt(plan: Plan, layer: number, offset: number): Projection | undefined {
  const of = plan.layers.find((each) => each.layer === layer);
  const components = plan.layouts[of?.layout ?? NaN]?.components ?? [];
  return PROJECTIONS.find((each) =>
    components.some(({ name, offset: at }) => at === offset && name === `${each}.weight`),
  );
}
