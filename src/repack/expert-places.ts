// Where each expert of a layer file begins and what it is made of. Pure.

import type { PackProjection } from '../addon/types.js';
import type { LayerPlan, PackPlan } from './types.js';

export interface ExpertPlace {
  expert: number;
  offset: number;
  /** Index into the plan's layouts. */
  layout: number;
  stride: number;
  projections: readonly PackProjection[];
}

/** One behind the other, in their order. */
export function expertPlaces(
  { layouts }: Pick<PackPlan, 'layouts'>,
  layer: LayerPlan,
): ExpertPlace[] {
  const { kept } = layer;
  const isKept = new Set(kept?.experts);
  let offset = 0;
  return Array.from({ length: layer.experts }, (_, expert) => {
    const { layout, projections } = kept !== undefined && isKept.has(expert) ? kept : layer;
    const stride = layouts[layout]?.expert_stride ?? 0;
    const place = { expert, offset, layout, stride, projections };
    offset += stride;
    return place;
  });
}
