// How far requantised weights are from their source: sums beside the journal's lines, and figures from them. Pure.

import * as z from 'zod';
import type { ErrorSums, WritePosition } from '../addon/types.js';
import { PROJECTIONS, type Projection } from '../models/names.js';
import type { WritePlan } from '../repack/write-plan.js';
import { ENCODED_BITS } from '../repack/encoded-tensor.js';
import type { Conversion, PackPlan } from '../repack/types.js';

const sum = z.number().nonnegative();
const count = z.number().int().nonnegative();

/** What is quantised at a time: a projection, or gate and up where an original stores them as one. */
const QUANTISED = [...PROJECTIONS, 'gate_up_proj'] as const;
export type Quantised = (typeof QUANTISED)[number];

/** Of one projection of one layer, or of its first values; see ErrorSums. */
export const requantised = z.object({
  layer: count,
  projection: z.enum(QUANTISED),
  /** Of an original that has a tensor for each expert, and of experts between others that are kept: where its values begin, in bytes of all. */
  from: count.optional(),
  squaredError: sum,
  rangeError: sum,
  sum: z.number(),
  sumOfSquares: sum,
  values: count,
});

export type Requantised = z.infer<typeof requantised>;

/** How far requantised weights are from their source. */
export interface WeightErrors {
  /** Root of squared error over squared deviation from the mean. */
  relativeRmse: number;
  /** What 2-bit codes over the range of each group would leave on the same values. */
  rangeRelativeRmse: number;
}

export interface ProjectionQuality {
  layer: number;
  projection: Quantised;
  /** Null where nothing is known. */
  errors: WeightErrors | null;
  /** Part of the values that this is about, 0 to 1: less where a setup was interrupted in the middle of them. */
  measured: number;
}

type Plan = Pick<PackPlan, 'layers' | 'layouts'>;

interface WritesOf {
  writes: Pick<WritePlan, 'items' | 'files'>;
  plan: Plan;
}

/** Names what the items of a write plan from `from` on requantised. */
export function requantisedFrom(
  { writes, plan }: WritesOf,
  from: number,
  errors: readonly ({ item: number } & ErrorSums)[],
): Requantised[] {
  return errors.flatMap(({ item, ...sums }) => {
    const of = item < from ? null : requantisedBy({ writes, plan }, item);
    if (of === null) return [];
    const { layer, projection, from: begin } = of;
    return [{ layer, projection, ...(begin > 0 && { from: begin }), ...sums }];
  });
}

/** What the journal says of the item at hand, whose first byte is at `start`; null unless it is of all that is placed. */
export function sumsUnderWay(
  of: WritesOf,
  { at, item }: Pick<WritePosition, 'at' | 'item'>,
  start: number,
  known: Iterable<Requantised>,
): ErrorSums | null {
  const place = requantisedBy(of, item);
  if (place === null) return null;
  const values = ((at - start) * 8) / place.bits;
  for (const { layer, projection, from = 0, ...sums } of known) {
    const isIt = layer === place.layer && projection === place.projection && from === place.from;
    if (isIt && sums.values === values) return sums;
  }
  return null;
}

/** The same for all projections of a layer, in the plan's order; those whose bytes were copied are left out. */
export function requantisedLayer(
  plan: Plan,
  layer: number,
  errors: readonly ErrorSums[],
): Requantised[] {
  const projections = plan.layers.find((each) => each.layer === layer)?.projections ?? [];
  return projections.flatMap(({ sourceBits, targetBits, targetOffsets }, index) => {
    const sums = errors[index];
    if (sums === undefined || sourceBits === targetBits) return [];
    const projection = projectionAt(plan, layer, targetOffsets.weight);
    return projection === undefined ? [] : [{ layer, projection, ...sums }];
  });
}

/** Of every projection that the plan requantises, in its order. */
export function qualityOf(plan: Plan, sums: readonly Requantised[]): ProjectionQuality[] {
  const figure = (layer: number, projection: Quantised, all: number): ProjectionQuality => {
    const own = sums.filter((each) => each.layer === layer && each.projection === projection);
    const values = own.reduce((sum, each) => sum + each.values, 0);
    return { layer, projection, errors: overall(own), measured: values / all };
  };
  return plan.layers.flatMap(({ layer, experts, kept, projections, conversions = [] }) => [
    ...conversions.flatMap((conversion) => {
      const projection = quantisedBy(plan, layer, conversion);
      const { pieces, encoding } = conversion;
      if (projection === null || encoding === null) return [];
      const bytes = pieces.reduce((sum, { size }) => sum + size, 0);
      return [figure(layer, projection, (bytes * 8) / ENCODED_BITS[encoding])];
    }),
    ...projections.flatMap(({ sourceBits, targetBits, targetOffsets, rows, columns }) => {
      const projection = projectionAt(plan, layer, targetOffsets.weight);
      if (sourceBits === targetBits || projection === undefined) return [];
      const made = experts - (kept?.experts.length ?? 0);
      return [figure(layer, projection, made * rows * columns)];
    }),
  ]);
}

/** What a conversion of a layer makes codes of; null where bytes or codes stay as they are. */
function quantisedBy(
  plan: Plan,
  layer: number,
  { encoding, exact, ways }: Pick<Conversion, 'encoding' | 'exact' | 'ways'>,
): Quantised | null {
  const [first, second] = ways;
  if (encoding === null || exact || first === undefined || first.bits === 0) return null;
  if (second !== undefined) return 'gate_up_proj';
  return projectionAt(plan, layer, first.offsets.weight) ?? null;
}

/** Over all of them together; null where there are none. */
export function overall(sums: readonly Requantised[]): WeightErrors | null {
  const add = (of: (each: Requantised) => number): number =>
    sums.reduce((total, each) => total + of(each), 0);
  const deviation = add(({ sumOfSquares, sum, values }) => sumOfSquares - sum ** 2 / values);
  if (!(deviation > 0)) return null;
  return {
    relativeRmse: Math.sqrt(add(({ squaredError }) => squaredError) / deviation),
    rangeRelativeRmse: Math.sqrt(add(({ rangeError }) => rangeError) / deviation),
  };
}

/** Which projection an item of a write plan makes narrower, and from how many bits; null for all other items. */
function requantisedBy(
  { writes, plan }: WritesOf,
  item: number,
): { layer: number; projection: Quantised; bits: number; from: number } | null {
  const entry = writes.items[item];
  if (entry?.type !== 'bytes') return null;
  if (entry.place.kind === 'convert') {
    const file = writes.files[entry.place.file];
    if (file?.kind !== 'layer') return null;
    const projection = quantisedBy(plan, file.layer, entry.place);
    const bits = ENCODED_BITS[entry.place.encoding];
    const { from } = entry.place;
    return projection === null ? null : { layer: file.layer, projection, bits, from };
  }
  if (entry.place.kind !== 'requantise') return null;
  const { file: index, offsets, bits, from } = entry.place;
  const file = writes.files[index];
  if (file?.kind !== 'layer') return null;
  const projection = projectionAt(plan, file.layer, offsets.weight);
  return projection === undefined ? null : { layer: file.layer, projection, bits, from };
}

/** Whose weights begin at `offset` of each expert. */
function projectionAt(plan: Plan, layer: number, offset: number): Projection | undefined {
  const of = plan.layers.find((each) => each.layer === layer);
  const components = plan.layouts[of?.layout ?? NaN]?.components ?? [];
  return PROJECTIONS.find((each) =>
    components.some(({ name, offset: at }) => at === offset && name === `${each}.weight`),
  );
}
