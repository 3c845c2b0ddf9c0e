// What requantising cost, as a table of layers and projections.

import type { WeightErrors } from '../store/requantisation.js';
import { PROJECTIONS } from '../models/names.js';
import type { Quant } from '../models/quant.js';
import { tableLines } from './table.js';

interface ProjectionQuality {
  layer: number;
  projection: string;
  /** Null where nothing is known. */
  errors: WeightErrors | null;
  /** Part of the values that this is about, 0 to 1. */
  measured: number;
}

export interface ModelQuality {
  model: string;
  quant: Quant;
  /** Null where nothing was requantised, or nothing is known of it. */
  overall: WeightErrors | null;
  /** That a calibration saw which errors were weighed by; null without one. */
  calibrationTokens: number | null;
  /** Those that were requantised. */
  projections: readonly ProjectionQuality[];
}

const WIDTH = 80;

export function qualityText(of: ModelQuality): string {
  const { model, quant, overall, projections, calibrationTokens: tokens } = of;
  if (quant === '4bit' && overall === null) {
    return `${model}: the experts are as published, byte for byte`;
  }
  if (overall === null) return `${model}: an older flashmoe requantised it and kept no errors`;
  const layers = [...new Set(projections.map(({ layer }) => layer))];
  const rows = layers.map((layer) => [
    String(layer),
    ...PROJECTIONS.map((name) =>
      cell(projections.find((each) => each.layer === layer && each.projection === name)),
    ),
  ]);
  const partly = projections.filter(({ measured }) => measured < 1).length;
  return [
    `${model}: relative RMSE of the requantised weights`,
    '(in brackets: had each group been rounded to its range)',
    '',
    ...tableLines(
      [{ title: 'LAYER', align: 'right' }, ...PROJECTIONS.map((title) => ({ title }))],
      rows,
      WIDTH,
    ),
    '',
    `all: ${errorWords(overall)}`,
    ...(tokens === null
      ? []
      : [`chosen by what ${tokens} tokens of a calibration used; shown with all columns alike`]),
    ...(partly === 0
      ? []
      : [`${partly} of ${projections.length} are of a part: setup was interrupted there`]),
  ].join('\n');
}

/** E.g. `0.331, 29.9 % lower than the 0.472 of min/max`. */
export function errorWords({ relativeRmse, rangeRelativeRmse }: WeightErrors): string {
  const lower = 100 * (1 - relativeRmse / rangeRelativeRmse);
  return `${relativeRmse.toFixed(3)}, ${lower.toFixed(1)} % lower than the ${rangeRelativeRmse.toFixed(3)} of min/max`;
}

function cell(of: ProjectionQuality | undefined): string {
  if (of === undefined) return 'as published';
  return of.errors === null ? 'not known' : pair(of.errors);
}

function pair({ relativeRmse, rangeRelativeRmse }: WeightErrors): string {
  return `${relativeRmse.toFixed(3)} (${rangeRelativeRmse.toFixed(3)})`;
}
