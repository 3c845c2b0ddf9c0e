// Small files that no repository has: of a GGUF model they are made of its metadata, here and whenever they are missing.

import { createHash } from 'node:crypto';
import { FlashmoeError } from '../base/errors.js';
import type { HubClient } from '../hub/client.js';
import type { HubTask, RepoListing } from '../hub/types.js';
import { ggufSideFiles } from '../models/gguf/side-files.js';
import { readGgufModel } from '../models/gguf/registry.js';
import { type GgufModelFiles, readGgufFiles } from '../repack/gguf-files.js';
import { listingOf, type StoredPlan } from './stored-plan.js';

/** Headers of the files of one model, in their order. */
export async function readGgufHeaders(
  client: HubClient,
  listing: RepoListing,
  paths: readonly string[],
  task: HubTask,
): Promise<GgufModelFiles> {
  return await readGgufFiles(
    paths.map((path) => {
      const { size = 0, sha256 = null } = listing.files.find((file) => file.path === path) ?? {};
      const read = (start: number, length: number) =>
        client.readRange(listing, path, start, length, task);
      return { path, size, sha256: sha256 ?? '', read };
    }),
  );
}

/** Texts of a model's small files by their names. */
function madeTexts({ metadata, inventory }: GgufModelFiles): Record<string, string> {
  const model = readGgufModel(metadata, (name) => inventory.tensors.has(name));
  return ggufSideFiles(metadata, model);
}

/** Texts that a client's headers gave: a plan, its check of speech and the setup itself need them one after the other. */
const made = new WeakMap<HubClient, { of: string; texts: Record<string, string> }>();

/** As madeTexts, of the files `paths`; the headers are read once for a client. */
export async function textsOf(
  client: HubClient,
  listing: RepoListing,
  paths: readonly string[],
  task: HubTask,
  headers: GgufModelFiles | null = null,
): Promise<Record<string, string>> {
  const of = [listing.repo, listing.commit, ...paths].join(' ');
  const known = made.get(client);
  if (known?.of === of) return known.texts;
  const texts = madeTexts(headers ?? (await readGgufHeaders(client, listing, paths, task)));
  made.set(client, { of, texts });
  return texts;
}

/** The same once more, held against the plan; null where the plan's small files are the repository's own. */
export async function madeFiles(
  client: HubClient,
  stored: StoredPlan,
  task: HubTask,
): Promise<Record<string, string> | null> {
  if (stored.gguf === undefined) return null;
  const { pack, sideFiles } = stored;
  const paths = pack.shards.map(({ path }) => path);
  const texts = await textsOf(client, listingOf(stored), paths, task);
  for (const { path, sha256 } of sideFiles) {
    if (textHash(texts[path] ?? '') === sha256) continue;
    throw new FlashmoeError(
      'ERR_PLAN',
      `this version makes ${path} of ${pack.repo} otherwise than the one that planned; nothing was changed`,
      { hint: `\`flashmoe rm ${stored.model}\`, then set it up again`, subject: path },
    );
  }
  return texts;
}

export function textHash(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
