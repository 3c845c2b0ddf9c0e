import { existsSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { loadAddon } from '../../src/addon/load.js';
import { homePaths, modelPaths, type ModelPaths } from '../../src/base/paths.js';
import type { ModelManifest } from '../../src/store/manifest.js';
import { measureDiskRate } from '../../src/installer/steps/disk-rate.js';
import { projectRoot } from '../helpers/built-cli.js';

const addonPath = join(projectRoot, 'build/Release/flashmoe.node');
const isBuilt = existsSync(addonPath);
if (!isBuilt)
  console.log('SKIP the disk rate of a setup: the addon is not built, run `make build`');

const signal = new AbortController().signal;

/** Two layer files with holes: real sizes, no disk. */
function model(layerBytes: number): { manifest: ModelManifest; paths: ModelPaths } {
  const root = mkdtempSync(join(tmpdir(), 'flashmoe-rate-'));
  onTestFinished(() => rmSync(root, { recursive: true, force: true }));
  const paths = modelPaths(homePaths(root), 'm');
  const folder = paths.experts('4bit');
  mkdirSync(folder, { recursive: true });
  const layout = { layouts: [{ expert_stride: 1_769_472 }] };
  writeFileSync(join(folder, 'layout.json'), JSON.stringify(layout));
  const files = ['layer_00.bin', 'layer_01.bin'].map((name) => {
    writeFileSync(join(folder, name), '');
    truncateSync(join(folder, name), layerBytes);
    return { path: `packed_experts/${name}`, size: layerBytes, sha256: '0'.repeat(64) };
  });
  return { manifest: { quant: '4bit', files } as ModelManifest, paths };
}

test.skipIf(!isBuilt)('a large model’s disk is measured through its own layer files', async () => {
  const { manifest, paths } = model(150e6);
  const { addon } = loadAddon([addonPath]);
  const rate = await measureDiskRate(addon, manifest, paths, { seed: 1, signal });
  // null where the temporary folder's file system takes no uncached reads.
  if (rate === null) console.log('SKIP its figure: no uncached reads in the temporary folder');
  else expect(rate).toBeGreaterThan(1e6);
});

test.skipIf(!isBuilt)('a small model says nothing about its disk', async () => {
  const { manifest, paths } = model(2e6);
  const { addon } = loadAddon([addonPath]);
  expect(await measureDiskRate(addon, manifest, paths, { seed: 1, signal })).toBeNull();
});
