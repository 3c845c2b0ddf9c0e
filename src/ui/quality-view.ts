// What requantising cost, as a table of layers and projections.

import type { Quant } from '../models/quant.js';
import { tableLines } from './table.js';

interface Errors {
  relativeRmse: number;
  rangeRelativeRmse: number;
}

export interface ModelQuality {
  model: string;
  quant: Quant;
  /** Null where nothing was requantised, or nothing is known of it. */
  overall: Errors | null;
  projections: readonly (Errors & { layer: number; projection: string; measured: number })[];
}

const PROJECTIONS = ['gate', 'up', 'down'];
const WIDTH = 80;

export function qualityText({ model, quant, overall, projections }: ModelQuality): string {
  if (quant === '4bit') return `${model}: the experts are as published, byte for byte`;
  if (overall === null) return `${model}: an older flashmoe requantised it and kept no errors`;
  const layers = [...new Set(projections.map(({ layer }) => layer))];
  const rows = layers.map((layer) => [
    String(layer),
    ...PROJECTIONS.map((name) => {
      const of = projections.find((e) => e.layer === layer && e.projection === `${name}_proj`);
      return of === undefined ? 'as published' : cell(of);
    }),
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
    `all: ${cell(overall)}, ${percentLower(overall)} lower`,
    ...(partly === 0
      ? []
      : [`${partly} of ${projections.length} figures are of a part: setup was interrupted there`]),
  ].join('\n');
}

function cell({ relativeRmse, rangeRelativeRmse }: Errors): string {
  return `${relativeRmse.toFixed(3)} (${rangeRelativeRmse.toFixed(3)})`;
}

function percentLower({ relativeRmse, rangeRelativeRmse }: Errors): string {
  return `${(100 * (1 - relativeRmse / rangeRelativeRmse)).toFixed(1)} %`;
}
