// Which model of which repository a setup or a plan is about, and the command that says the same again.

import { FlashmoeError } from '../base/errors.js';
import { catalogEntry, entryForRepo, modelIdForRepo } from '../models/catalog.js';
import type { Quant } from '../models/quant.js';
import { limitWords, type LimitChange } from './limit-options.js';

export interface TargetArgs {
  model: string | null;
  repo: string | null;
  revision: string | null;
}

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
    return { model: modelIdForRepo(repo), repo, revision, bundled: isBundled(repo) };
  }
  if (args.model === null) return null;
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

export interface SetupWords extends TargetArgs {
  /** Absolute path of a folder that has the bytes; null: the hub. */
  from: string | null;
  quant: Quant | null;
  /** Budget in bytes for mixed widths. */
  size: number | null;
  /** Absolute path of a file of `flashmoe calibrate`. */
  calibration: string | null;
  /** The checkpoint stays beside the model. */
  keepSource: boolean;
  service: boolean;
  /** Rate and hours given for this run and those that go on with it. */
  limits: LimitChange;
  /** Milliseconds since the epoch; null: none. */
  deadline: number | null;
  /** Handed to launchd or systemd, where this terminal ends. */
  overnight: boolean;
  yes: boolean;
  json: boolean;
  /** --home, when it was given as an option. */
  home: string | null;
}

/** Arguments of `flashmoe` for this very setup, for a person to paste or a process to be started with. */
export function setupWords(words: SetupWords): string[] {
  const option = (name: string, value: string | null): string[] =>
    value === null ? [] : [name, value];
  return [
    'setup',
    ...(words.repo === null && words.model !== null ? [words.model] : []),
    ...option('--repo', words.repo),
    ...option('--revision', words.revision),
    ...option('--from', words.from),
    ...option('--quant', words.quant),
    ...option('--size', words.size === null ? null : `${words.size}B`),
    ...option('--calibration', words.calibration),
    ...(words.keepSource ? ['--keep-source'] : []),
    ...(words.service ? [] : ['--no-service']),
    ...limitWords(words.limits),
    ...(words.deadline === null ? [] : ['--deadline', new Date(words.deadline).toISOString()]),
    ...(words.overnight ? ['--overnight'] : []),
    ...(words.yes ? ['--yes'] : []),
    ...(words.json ? ['--json'] : []),
    ...option('--home', words.home),
  ];
}
