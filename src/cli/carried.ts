// --from: what it names, before anything else is asked. A folder may say by itself which repository it is.

import { basename, isAbsolute, join, resolve } from 'node:path';
import { FlashmoeError } from '../base/errors.js';
import { locateCheckpoint } from '../hub/checkpoint-folder.js';
import { LOCAL_OWNER } from '../installer/folder-source.js';
import type { CliContext } from './context.js';
import { DEFAULT_REVISION, targetOf, type TargetArgs } from './target.js';

export interface CarriedArgs extends TargetArgs {
  /** A folder; null: bytes come from the hub. */
  from: string | null;
}

/** The same words with a repository named and the folder's path made absolute. Throws ERR_USAGE. */
export async function withCarried<Words extends CarriedArgs>(
  { host }: Pick<CliContext, 'host'>,
  words: Words,
): Promise<Words> {
  if (words.from === null) return words;
  const home = words.from.replace(/^~(?=\/|$)/, host.homeDirectory);
  const from = isAbsolute(home) ? home : resolve(home);
  const repo = targetOf(words)?.repo ?? null;
  const at = await locateCheckpoint(from, repo, words.revision ?? DEFAULT_REVISION);
  if (repo === null) return { ...words, from, repo: at.repo ?? localRepo(at.folder) };
  if (at.repo !== null && at.repo.toLowerCase() !== repo.toLowerCase()) {
    throw new FlashmoeError('ERR_USAGE', `${from} is of ${at.repo}, not of ${repo}`, {
      hint: `leave ${words.model ?? '--repo'} away, or name the folder of that repository`,
      subject: '--from',
    });
  }
  return { ...words, from };
}

/** A name for what no repository is known of. */
function localRepo(folder: string): string {
  const safe = basename(folder)
    .replace(/[^A-Za-z0-9._-]+/g, '-')
    .replace(/([._-])[._-]+/g, '$1')
    .replace(/^[._-]+|[._-]+$/g, '')
    .slice(0, 90);
  return join(LOCAL_OWNER, safe === '' ? 'checkpoint' : safe);
}
