// A calibration of a planned model, made up.

import type { ChannelSquares } from '../../src/addon/types.js';
import { calibrationBytes } from '../../src/repack/calibration.js';
import type { StoredPlan } from '../../src/store/stored-plan.js';

/** Sums as an engine could have made them, channels far apart. Expert e of a layer has seen `tokensOf(e)` tokens. */
export function testCalibration(
  { pack }: Pick<StoredPlan, 'pack'>,
  seed: number,
  tokensOf: (expert: number, layer: number) => number = () => 1000,
): Buffer {
  let state = seed;
  const next = (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.exp((6 * state) / 2 ** 32);
  };
  const layers = new Map(
    pack.layers.map(({ layer, experts, projections: [gate, , down] }) => {
      const squares: ChannelSquares = {
        experts,
        input: Float64Array.from({ length: gate?.columns ?? 0 }, next),
        inner: Float64Array.from({ length: experts * (down?.columns ?? 0) }, next),
        tokens: Float64Array.from({ length: experts }, (_, expert) => tokensOf(expert, layer)),
      };
      return [layer, squares] as const;
    }),
  );
  const { repo, commit } = pack;
  return calibrationBytes(layers, { repo, commit, tokens: 1000 });
}
