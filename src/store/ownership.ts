// What of a model's folder is ours: files that its manifest or its plan names, records of a setup, and the scratch that
// a setup or a repair works in. Never by pattern over the user's names.

import { basename, join, relative, sep } from 'node:path';
import { PARTIAL_SUFFIX } from '../base/atomic-file.js';
import {
  finalName,
  listOwned,
  removeEmptyFolders,
  removeOwned,
  type OwnedFolder,
} from '../base/owned-files.js';
import { modelPathsAt, type ModelPaths } from '../base/paths.js';
import type { ModelManifest } from './manifest.js';
import {
  BEFORE_FOLDER,
  BEGUN_AS_FILE,
  finalFiles,
  MOVING_FILE,
  SCRATCH_NAME,
  smallFiles,
  sourceFiles,
  type StoredFiles,
} from './model-files.js';

/** What is known of a model whose files are meant. */
export interface ModelNames {
  manifest?: Pick<ModelManifest, 'files'> | null;
  plan?: StoredFiles | null;
  /** The checkpoint beside it was put there by us. */
  keepsSource?: boolean;
  /** The width that it takes the place of, in a folder of its own. */
  before?: Omit<ModelNames, 'before'> | null;
}

export function ownedModel(paths: ModelPaths, names: ModelNames): OwnedFolder {
  const { manifest = null, plan = null, keepsSource = false, before = null } = names;
  const inBefore = `${BEFORE_FOLDER}/`;
  const old = before && ownedModel(modelPathsAt(join(paths.root, BEFORE_FOLDER)), before);
  const below = (path: string): string => relative(paths.root, path).split(sep).join('/');
  const download = below(paths.download);
  const ofPlan = (files: StoredFiles): string[] => [
    ...finalFiles(paths, files),
    ...(keepsSource ? sourceFiles(files) : []),
    ...[...files.pack.shards, ...smallFiles(files)].map(({ path }) => `${download}/${path}`),
  ];
  const owned = new Set([
    ...[paths.manifest, paths.journal, paths.plan, paths.limits, paths.record].map(below),
    MOVING_FILE,
    BEGUN_AS_FILE,
    ...(manifest?.files ?? []).map(({ path }) => path),
    ...(plan === null ? [] : ofPlan(plan)),
  ]);
  const isScratch = (path: string): boolean =>
    path.startsWith(`${download}/`) && SCRATCH_NAME.test(path.slice(download.length + 1));
  return {
    root: paths.root,
    owns: (path) =>
      owned.has(path) ||
      owned.has(finalName(path)) ||
      isScratch(path) ||
      (old !== null && path.startsWith(inBefore) && old.owns(path.slice(inBefore.length))),
  };
}

/** What a setup or a repair works in, as a folder of its own. */
export function ownedScratch(download: string): OwnedFolder {
  return { root: download, owns: (path) => SCRATCH_NAME.test(path) };
}

/** Deletes what runs of this plan leave behind: files in download/ and partial ones. The caller holds the folder's lock. */
export async function removeScratch(paths: ModelPaths, plan: StoredFiles): Promise<void> {
  const folder = ownedModel(paths, { plan });
  const download = `${basename(paths.download)}/`;
  const { owned } = await listOwned(folder);
  for (const { path } of owned) {
    const isPartial = path.endsWith(PARTIAL_SUFFIX) || path.endsWith(`${PARTIAL_SUFFIX}.json`);
    if (path.startsWith(download) || isPartial) await removeOwned(folder, path);
  }
  await removeEmptyFolders(join(paths.root, download));
}
