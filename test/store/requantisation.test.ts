import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { packageRoot } from '../../src/base/package-root.js';
import { overall, requantisedLayer } from '../../src/store/requantisation.js';
import { planDirectory } from '../../src/repack/pack-directory.js';
import { packLayer } from '../../src/repack/pack.js';
import { FAMILIES, fixture, testAddon } from '../repack/fixtures.js';

test.each([
  ...FAMILIES.map((family): [string, string] => [family, fixture(family)]),
  ['the bundled model', join(packageRoot, 'models', 'tiny')],
])(
  'the experts of %s have a quarter less relative error than rounding to the range leaves in as many bytes',
  async (_, source) => {
    const dir = await mkdtemp(join(tmpdir(), 'flashmoe-quality-'));
    try {
      const plan = await planDirectory(source, { addon: testAddon(), quant: '2bit', threads: 1 });
      const target = {
        ...{ addon: testAddon(), root: dir, expertsDir: dir, threads: 1 },
        shardPath: (shard: string) => join(source, shard),
      };
      const sums = [];
      for (const { layer } of plan.layers) {
        const { error } = await packLayer(plan, layer, target);
        sums.push(...requantisedLayer(plan, layer, error));
      }
      expect(sums).toHaveLength(3 * plan.layers.length);
      for (const each of sums) {
        const errors = overall([each]);
        expect(errors?.rangeRelativeRmse).toBeGreaterThan(0);
        expect(errors?.relativeRmse).toBeLessThanOrEqual(0.75 * (errors?.rangeRelativeRmse ?? 0));
      }
    } finally {
      await rm(dir, { recursive: true });
    }
  },
);
