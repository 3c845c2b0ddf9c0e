// What the volume of a fresh model delivers, from its own layer files: the bound that its first answer is held to,
// and the figure from which `flashmoe models` estimates others.

import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { isWorthMeasuring, measureReadRates } from '../../addon/read-rate.js';
import type { NativeAddon } from '../../addon/types.js';
import type { ModelPaths } from '../../base/paths.js';
import type { ExpertsManifest } from '../../models/spec.js';
import type { ModelManifest } from '../../store/manifest.js';

/** The engine keeps eight reads under way; a drive that wants more shows it at sixteen. */
const DEPTHS = [8, 16];
const MILLISECONDS = 500;

/** Best of both depths, bytes a second; null when there is too little to read or no way past the page cache. */
export async function measureDiskRate(
  addon: NativeAddon,
  manifest: ModelManifest,
  paths: ModelPaths,
  { seed, signal }: { seed: number; signal: AbortSignal },
): Promise<number | null> {
  const folder = paths.experts(manifest.quant);
  const layers = manifest.files.filter(
    ({ path }) => path.startsWith(`${basename(folder)}/`) && path.endsWith('.bin'),
  );
  const layout = JSON.parse(
    await readFile(join(folder, 'layout.json'), 'utf8'),
  ) as Partial<ExpertsManifest>;
  const expertBytes = layout.layouts?.[0]?.expert_stride ?? 0;
  const total = layers.reduce((sum, { size }) => sum + size, 0);
  if (!isWorthMeasuring(total, expertBytes)) return null;
  const rates = await measureReadRates(addon, {
    files: layers.map(({ path }) => join(paths.root, path)),
    expertBytes,
    depths: DEPTHS,
    milliseconds: MILLISECONDS,
    seed,
    signal,
  });
  const best = rates.filter(({ uncached }) => uncached).map(({ bytesPerSecond }) => bytesPerSecond);
  return best.length === 0 ? null : Math.max(...best);
}
