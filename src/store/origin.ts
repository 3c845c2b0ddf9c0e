// Which repository a folder was begun from, by the first line of its journal and by its plan: what its name alone can't say.

import type { ModelPaths } from '../base/paths.js';
import type { Quant } from '../models/quant.js';
import { readJournal } from './journal.js';
import { readStoredPlan } from './stored-plan.js';

export interface Origin {
  repo: string;
  revision: string;
  quant: Quant;
  /** Of a GGUF model: what chose it among the repository's files. */
  file: string | null;
}

/** null where no setup has begun. */
export async function originOf(paths: ModelPaths): Promise<Origin | null> {
  const journal = await readJournal(paths.journal);
  if (journal === null) return null;
  const { repo, revision, quant } = journal.header;
  const file = (await readStoredPlan(paths.plan).catch(() => null))?.gguf?.file ?? null;
  return { repo, revision, quant, file };
}
