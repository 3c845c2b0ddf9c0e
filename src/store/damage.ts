// A check found files whose content is not what it was. Written down, so that the next setup makes exactly
// these anew although their sizes are right.

import { acquireLock } from '../base/file-lock.js';
import type { ModelPaths } from '../base/paths.js';
import { openJournal, readJournal } from './journal.js';

/** `files` are relative to the model's folder. False when there is no journal to write it into. ERR_LOCKED during a setup. */
export async function recordDamage(paths: ModelPaths, files: readonly string[]): Promise<boolean> {
  const lock = await acquireLock(paths.lock);
  try {
    const found = await readJournal(paths.journal);
    if (found === null) return false;
    const journal = await openJournal(paths.journal, found.header);
    try {
      for (const file of files) await journal.append({ step: 'damaged', file });
    } finally {
      await journal.close();
    }
    return true;
  } finally {
    await lock.release();
  }
}
