// Of a model that another width of itself takes the place of: where its folder stands meanwhile, and what of it is ours.

import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { modelPathsAt, type ModelPaths } from '../base/paths.js';
import { readManifest, type ModelManifest } from './manifest.js';
import { BEFORE_FOLDER } from './model-files.js';
import { readStoredPlan, type StoredPlan } from './stored-plan.js';

/** Where the width that goes is while the new one is made. */
export function beforePaths({ root }: Pick<ModelPaths, 'root'>): ModelPaths {
  return modelPathsAt(join(root, BEFORE_FOLDER));
}

export interface Before {
  manifest: ModelManifest | null;
  plan: StoredPlan | null;
}

/** What is known of it; null when there is none. */
export async function namesBefore(paths: Pick<ModelPaths, 'root'>): Promise<Before | null> {
  const before = beforePaths(paths);
  const found = await lstat(before.root).catch(() => null);
  if (found?.isDirectory() !== true) return null;
  const manifest = await readManifest(before.manifest).catch(() => null);
  const plan = await readStoredPlan(before.plan).catch(() => null);
  return { manifest, plan };
}
