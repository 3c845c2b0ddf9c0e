// Which model of which repository a setup or a plan is about.

import { FlashmoeError } from '../base/errors.js';
import { catalogEntry, entryForRepo, modelIdForRepo } from '../models/catalog.js';
import type { CheckpointOptions } from '../settings/setup-options.js';

export type TargetArgs = Pick<CheckpointOptions, 'model' | 'repo' | 'revision'> &
  Partial<Pick<CheckpointOptions, 'file'>>;

export interface Target {
  /** Catalogue id, or what stands for a repository given by name. */
  model: string;
  repo: string;
  revision: string;
  /** Shipped with flashmoe and served by the bundled hub. */
  bundled: boolean;
}

export const DEFAULT_REVISION = 'main';
/** The organisation of what is shipped; no repository of the hub is called so. */
const BUNDLED_OWNER = 'flashmoe/';

/** null when nothing was named. Throws ERR_USAGE and ERR_UNKNOWN_MODEL. */
export function targetOf(args: TargetArgs): Target | null {
  const revision = args.revision ?? DEFAULT_REVISION;
  if (args.repo !== null) {
    if (args.model !== null && args.model !== entryForRepo(args.repo)?.id) {
      throw new FlashmoeError('ERR_USAGE', `${args.model} and --repo ${args.repo} are two models`, {
        hint: 'name the model or the repository, not both',
      });
    }
    const repo = entryForRepo(args.repo)?.repo ?? args.repo;
    return {
      model: modelIdForRepo(repo, args.file ?? null),
      repo,
      revision,
      bundled: isBundled(repo),
    };
  }
  if (args.model === null) return null;
  if (args.file !== undefined && args.file !== null) {
    throw new FlashmoeError('ERR_USAGE', '--file chooses among the GGUF files of a repository', {
      hint: `name the repository: --repo org/name --file '${args.file}'`,
      subject: '--file',
    });
  }
  const { id, repo } = catalogEntry(args.model);
  return { model: id, repo, revision, bundled: isBundled(repo) };
}

/** As targetOf, where something was named for sure. */
export function requireTarget(args: TargetArgs): Target {
  const target = targetOf(args);
  if (target === null) throw new FlashmoeError('ERR_USAGE', 'no model was named');
  return target;
}

export function isBundled(repo: string): boolean {
  return repo.startsWith(BUNDLED_OWNER);
}
