// A model may be named as `flashmoe status` shows it: whatever a message calls it, a command takes it.

import type { CheckpointOptions } from '../settings/setup-options.js';
import type { Quant } from '../models/quant.js';
import { CATALOG, entryForRepo } from '../models/catalog.js';
import { locatedPaths } from '../store/location.js';
import { originOf } from '../store/origin.js';
import type { AppContext } from './context.js';
import { readyInstallations } from './ready-models.js';

/** Of the catalogue, or of a model that is ready here. */
export async function isModelName({ home }: AppContext, word: string): Promise<boolean> {
  const name = word.toLowerCase();
  if (CATALOG.some(({ id }) => id === name)) return true;
  const ready = await readyInstallations(home);
  return ready.some(({ id, manifest }) => id === name || manifest.model === name);
}

type Named = CheckpointOptions & { quant: Quant | null };

/**
 * The same words with the repository, revision and width that the folder of this name was begun with. A name of the
 * catalogue stays as it is; `org/name` is a repository.
 */
export async function withNamed<Words extends Named>(
  { home }: AppContext,
  words: Words,
): Promise<Words> {
  const { model } = words;
  if (model === null || words.repo !== null) return words;
  const name = model.toLowerCase();
  if (CATALOG.some(({ id }) => id === name)) return words;
  if (/^[^/]+\/[^/]+$/.test(model)) return { ...words, model: null, repo: model };
  if (!/^[a-z0-9][a-z0-9._-]*$/.test(name)) return words;
  const origin = await originOf(await locatedPaths(home, name));
  if (origin === null) return words;
  const { repo, quant } = origin;
  const entry = entryForRepo(repo);
  return {
    ...words,
    model: entry?.id ?? null,
    repo: entry === null ? repo : null,
    revision: words.revision ?? origin.revision,
    quant: words.quant ?? quant,
    file: words.file ?? origin.file,
  };
}
