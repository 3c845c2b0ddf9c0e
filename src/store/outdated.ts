// A bundled model changes with flashmoe itself, and an older one cannot be fetched any more. What an older
// version made of it is removed, by the names of its own plan, before the new one is made.

import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { PARTIAL_SUFFIX } from '../base/atomic-file.js';
import type { ModelPaths } from '../base/paths.js';
import { readJournal } from './journal.js';
import { finalFiles } from './model-files.js';
import { readStoredPlan, type StoredPlan } from './stored-plan.js';

/** Does nothing when the folder is of `current`. The caller holds the folder's lock. */
export async function removeOutdated(paths: ModelPaths, current: StoredPlan): Promise<void> {
  const journal = await readJournal(paths.journal);
  if (journal === null || journal.header.plan === current.pack.fingerprint) return;
  const old = await readStoredPlan(paths.plan);
  if (old !== null) {
    const partial = old.pack.dense.file + PARTIAL_SUFFIX;
    for (const file of [...finalFiles(paths, old), partial]) {
      await rm(join(paths.root, file), { force: true });
    }
  }
  await rm(paths.download, { recursive: true, force: true });
  await rm(paths.manifest, { force: true });
  // Last, so that a crash before it leaves the folder outdated and not half new.
  await rm(paths.journal, { force: true });
}
