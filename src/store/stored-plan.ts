// plan.json: what a setup writes and from where, kept in the model's folder so that a resumed run decides
// nothing anew, needs no header from the network, and stays with its commit and layout after an upgrade.

import { readFile } from 'node:fs/promises';
import { requireVersion } from '../base/format-version.js';
import * as z from 'zod';
import { writeFileAtomic } from '../base/atomic-file.js';
import { asFlashmoeError } from '../base/errors.js';
import type { RepoFile, RepoListing } from '../hub/types.js';
import { isSideFile } from '../models/repository-files.js';
import { fingerprint } from '../repack/plan.js';
import type { PackPlan } from '../repack/types.js';

/** A file of the user's own that stands in a model's folder, in place of the repository's where that has one of its name. */
export interface UserFile {
  /** Its name in the model's folder. */
  path: string;
  size: number;
  sha256: string;
  /** That brought it: `--chat-template`. */
  option: string;
}

export interface StoredPlan {
  schema: 1;
  /** Catalogue id, or what stands for a repository given by name. */
  model: string;
  /** What was asked for: a branch, tag or commit. */
  revision: string;
  /** Budget in bytes that mixed widths were chosen for. */
  size?: number;
  /** Of a GGUF model: its small files are made of its metadata. `file`: what chose it, as it was typed. */
  gguf?: { file?: string };
  /** Tokenizer, template and config files at the plan's commit. */
  sideFiles: RepoFile[];
  /** Besides a calibration, which is a part of `pack`. */
  userFiles?: UserFile[];
  pack: PackPlan;
}

const envelope = z.object({
  schema: z.literal(1),
  model: z.string().min(1),
  revision: z.string().min(1),
  size: z.number().int().positive().optional(),
  gguf: z.object({ file: z.string().min(1).optional() }).optional(),
  sideFiles: z.array(
    z.object({
      path: z.string().refine(isSideFile),
      size: z.number().int().nonnegative(),
      sha256: z.string().nullable(),
      gitSha1: z.string().nullable(),
    }),
  ),
  userFiles: z
    .array(
      z.object({
        path: z.string().refine(isSideFile),
        size: z.number().int().nonnegative(),
        sha256: z.string().regex(/^[0-9a-f]{64}$/),
        option: z.string().regex(/^--[a-z-]+$/),
      }),
    )
    .optional(),
  pack: z.looseObject({ schema: z.literal(1), fingerprint: z.string() }),
});

/** null when there is none, or when it is not word for word what its fingerprint stands for. */
export async function readStoredPlan(path: string): Promise<StoredPlan | null> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw asFlashmoeError(error);
  }
  // Not to be made again as a damaged one is: a newer flashmoe decided something in it.
  const { schema, pack } = schemasOf(text);
  requireVersion({ schema }, 'schema', 1, path);
  requireVersion(pack, 'schema', 1, path);
  return parseStoredPlan(text);
}

function schemasOf(text: string): { schema?: unknown; pack?: unknown } {
  try {
    const json: unknown = JSON.parse(text);
    return typeof json === 'object' && json !== null ? json : {};
  } catch {
    return {};
  }
}

/** null for what is no plan of this schema, or not word for word what its fingerprint stands for. */
export function parseStoredPlan(text: string): StoredPlan | null {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    // Ours to write again: everything in it can be had from the commit that the journal names.
    return null;
  }
  if (!envelope.safeParse(json).success) return null;
  const stored = json as StoredPlan;
  const { fingerprint: claimed, ...body } = stored.pack;
  return fingerprint(body) === claimed ? stored : null;
}

export function storedPlanText(plan: StoredPlan): string {
  return `${JSON.stringify(plan)}\n`;
}

export async function writeStoredPlan(path: string, plan: StoredPlan): Promise<void> {
  await writeFileAtomic(path, storedPlanText(plan));
}

/** The files of a plan as a listing, so that a resumed run can fetch without asking for it again; of those that are made, none. */
export function listingOf({ pack, revision, sideFiles, gguf }: StoredPlan): RepoListing {
  const shards = pack.shards.map((shard): RepoFile => ({ ...shard, gitSha1: null }));
  const small = gguf === undefined ? sideFiles : [];
  return { repo: pack.repo, revision, commit: pack.commit, files: [...shards, ...small] };
}
