// Which experts stay as published when the others become 2 bits: those that a calibration saw chosen most. Pure.

import { FlashmoeError } from '../base/errors.js';
import { formatBytes } from '../base/format.js';
import type { CalibrationRows } from './calibration.js';
import type { RoutedLayer } from './classify.js';
import { longestThatFits } from './widths.js';

/** Layer → experts that stay as they are, ascending. */
export type KeptExperts = ReadonlyMap<number, readonly number[]>;

export interface ExpertBudget {
  /** Of everything that is written; null: nothing was said. */
  size: number | null;
  /** Bytes that a choice comes to. */
  bytesOf: (kept: KeptExperts) => number;
}

/**
 * The most used experts of all layers that fit into the size, by tokens of the calibration; each layer's tokens choose as many
 * experts, so counts of layers compare. Throws ERR_USAGE without a size or uses, and when 2 bits everywhere are too many bytes.
 */
export function chooseExperts(
  routed: readonly RoutedLayer[],
  calibration: Pick<CalibrationRows, 'uses'> | null,
  { size, bytesOf }: ExpertBudget,
): KeptExperts {
  if (size === null) throw missing('--size', 'tiered fills a size with experts as published');
  if (calibration === null)
    throw missing('--calibration', 'a calibration says which experts serve most');
  const ranked = routed
    .flatMap(({ layer, experts }) => {
      const uses = calibration.uses.get(layer);
      if (uses?.length !== experts) {
        throw missing(
          '--calibration',
          `the calibration does not say how often layer ${layer} used its experts`,
        );
      }
      return uses.map((tokens, expert) => ({ layer, expert, tokens }));
    })
    .sort((a, b) => b.tokens - a.tokens || a.layer - b.layer || a.expert - b.expert);
  const first = (count: number): KeptExperts => {
    const kept = new Map<number, number[]>();
    for (const { layer, expert } of ranked.slice(0, count)) {
      const known = kept.get(layer) ?? [];
      known.push(expert);
      kept.set(layer, known);
    }
    for (const experts of kept.values()) experts.sort((a, b) => a - b);
    return kept;
  };
  const least = bytesOf(first(0));
  if (least > size) {
    throw new FlashmoeError(
      'ERR_USAGE',
      `${formatBytes(size)} are too few: with 2 bits everywhere the model has ${formatBytes(least)}`,
      { hint: 'name a larger --size', subject: '--size' },
    );
  }
  return first(longestThatFits(ranked.length, (count) => bytesOf(first(count)) <= size));
}

function missing(subject: string, why: string): FlashmoeError {
  return new FlashmoeError('ERR_USAGE', why, {
    hint: 'add --size, and --calibration with what `flashmoe calibrate` of this version writes',
    subject,
  });
}
