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

/** Neighbouring experts of one kind. */
export interface ExpertRun {
  first: number;
  count: number;
  /** Of the first one. */
  offset: number;
  stride: number;
  isKept: boolean;
}

/** The places of a layer's experts, as few as there can be; all of them where there is one kind. */
export function expertRuns(plan: Pick<PackPlan, 'layouts'>, layer: LayerPlan): ExpertRun[] {
  const stride = plan.layouts[layer.layout]?.expert_stride ?? 0;
  if (layer.kept === undefined) {
    return [{ first: 0, count: layer.experts, offset: 0, stride, isKept: false }];
  }
  const isKept = new Set(layer.kept.experts);
  const runs: ExpertRun[] = [];
  for (const place of expertPlaces(plan, layer)) {
    const last = runs.at(-1);
    if (last?.isKept === isKept.has(place.expert)) last.count += 1;
    else {
      const { expert: first, offset, stride: own } = place;
      runs.push({ first, count: 1, offset, stride: own, isKept: isKept.has(first) });
    }
  }
  return runs;
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
