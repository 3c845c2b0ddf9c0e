// A bundled model changes with flashmoe itself, and an older one cannot be fetched any more. What an older
// version made of it is removed, by the names of its own plan, before the new one is made.

import { join } from 'node:path';
import { listOwned, removeEmptyFolders, removeOwned } from '../base/owned-files.js';
import type { ModelPaths } from '../base/paths.js';
import { readJournal } from './journal.js';
import { readManifest } from './manifest.js';
import { ownedModel } from './ownership.js';
import { readStoredPlan, type StoredPlan } from './stored-plan.js';

/** Does nothing when the folder is of `current`. The caller holds the folder's lock. */
export async function removeOutdated(paths: ModelPaths, current: StoredPlan): Promise<void> {
  const journal = await readJournal(paths.journal);
  if (journal === null || journal.header.plan === current.pack.fingerprint) return;
  const old = await readStoredPlan(paths.plan);
  const manifest = await readManifest(paths.manifest).catch(() => null);
  const folder = ownedModel(paths, { manifest, plan: old });
  const stays = new Set([paths.journal, paths.plan, paths.limits, paths.record]);
  for (const { path } of (await listOwned(folder)).owned) {
    if (!stays.has(join(paths.root, path))) await removeOwned(folder, path);
  }
  await removeEmptyFolders(paths.download);
  // Last, so that a crash before it leaves the folder outdated and not half new.
  await removeOwned(folder, paths.journal);
}
