// Which repository a folder was begun from, by the first line of its journal: what its name alone can't say.

import type { ModelPaths } from '../base/paths.js';
import type { Quant } from '../models/quant.js';
import { readJournal } from './journal.js';

export interface Origin {
  repo: string;
  revision: string;
  quant: Quant;
}

/** null where no setup has begun. */
export async function originOf(paths: ModelPaths): Promise<Origin | null> {
  const journal = await readJournal(paths.journal);
  if (journal === null) return null;
  const { repo, revision, quant } = journal.header;
  return { repo, revision, quant };
}
