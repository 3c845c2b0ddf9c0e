// Which files a plan makes in a model's folder, as paths relative to it. Pure.

import { basename, join } from 'node:path';
import { expertsFolder, modelPaths, type HomePaths, type ModelPaths } from '../base/paths.js';
import { blocksText, emptyChain } from '../repack/blocks.js';
import { CALIBRATION_FILE } from '../repack/calibration.js';
import { expertTypes } from '../repack/expert-types.js';
import type { LayerPlan, PackPlan } from '../repack/types.js';
import type { Quant } from '../models/quant.js';
import type { ModelManifest, OwnedFile } from './manifest.js';
import type { RepoFile } from '../hub/types.js';
import type { StoredPlan, UserFile } from './stored-plan.js';

export type StoredFiles = Pick<StoredPlan, 'pack' | 'sideFiles' | 'userFiles' | 'gguf'>;

/** In the model's folder: the checkpoint itself, where it was asked for. */
const SOURCE_FOLDER = 'source';
export const INDEX_FILE = 'model.safetensors.index.json';
/** Room for the index, of which the plan has no size. */
const INDEX_ROOM = 16 << 20;

export function sourceFolder({ root }: Pick<ModelPaths, 'root'>): string {
  return join(root, SOURCE_FOLDER);
}

/** Says that the checkpoint in its folder is ours: without it whatever is there is the user's. */
export const SOURCE_MARK = `${SOURCE_FOLDER}/.kept`;

/** Of the checkpoint, as paths relative to the model's folder. */
export function sourceFiles({ pack, sideFiles }: StoredFiles): string[] {
  const names = [...pack.shards, ...sideFiles].map(({ path }) => path);
  const paths = [...new Set([...names, INDEX_FILE])].map((path) => `${SOURCE_FOLDER}/${path}`);
  return [...paths, SOURCE_MARK];
}

/** The checkpoint's shards, with paths relative to the model's folder. */
export function sourceShards({ pack }: StoredFiles): OwnedFile[] {
  return pack.shards.map(({ path, size, sha256 }) => ({
    path: `${SOURCE_FOLDER}/${path}`,
    size,
    sha256,
  }));
}

/** Of the files that the plan names. */
export function checkpointBytes({ pack, sideFiles, gguf }: StoredFiles): number {
  const small = gguf === undefined ? sideFiles : [];
  return [...pack.shards, ...small].reduce((sum, { size }) => sum + size, 0);
}

/** Most bytes that the checkpoint takes, with its index. */
export function sourceBytes(files: StoredFiles): number {
  return checkpointBytes(files) + INDEX_ROOM;
}

/** One folder a model and width, so that both widths of a model can stand side by side. */
export function installationId(model: string, quant: Quant): string {
  return quant === '4bit' ? model : `${model}-${quant}`;
}

export function installationPaths(home: HomePaths, model: string, quant: Quant): ModelPaths {
  return modelPaths(home, installationId(model, quant));
}

export function layerPath(
  paths: ModelPaths,
  quant: Quant,
  { file }: Pick<LayerPlan, 'file'>,
): string {
  return join(basename(paths.experts(quant)), file);
}

/** Those that no hub has: the user named them. */
export function userFiles({ pack: { calibration }, userFiles: own = [] }: StoredFiles): UserFile[] {
  if (calibration === undefined) return own;
  const { size, sha256 } = calibration;
  return [...own, { path: CALIBRATION_FILE, size, sha256, option: '--calibration' }];
}

/** As the manifest and the receipt tell of them; nothing where there are none. */
export function manifestUserFiles(stored: StoredFiles): Pick<ModelManifest, 'userFiles'> {
  const own = userFiles(stored).map(({ path, sha256, option }) => ({ path, sha256, option }));
  return own.length === 0 ? {} : { userFiles: own };
}

/** What its manifest says of a GGUF model beside others'. */
export function manifestGguf({
  gguf,
  pack,
}: StoredFiles): Pick<ModelManifest, 'file' | 'expertTypes'> {
  if (gguf === undefined) return {};
  const { file } = gguf;
  return { ...(file !== undefined && { file }), expertTypes: expertTypes(pack) };
}

/** Of the tokenizer, template and config files of the repository, those that no file of the user's stands in for. */
export function hubSideFiles({ sideFiles, userFiles: own = [] }: StoredFiles): RepoFile[] {
  return sideFiles.filter(({ path }) => !own.some((file) => file.path === path));
}

/** Files that come before the weights: those of the hub, then those of the user. */
export function smallFiles(stored: StoredFiles): { path: string; size: number }[] {
  return [...hubSideFiles(stored), ...userFiles(stored)];
}

/** Everything that the finished model consists of, in the order of its manifest. */
export function finalFiles(paths: ModelPaths, stored: StoredFiles): string[] {
  const { pack } = stored;
  return [
    ...smallFiles(stored).map(({ path }) => path),
    pack.dense.file,
    basename(paths.denseManifest),
    basename(paths.blocks),
    layoutPath(paths, pack),
    ...pack.layers.map((layer) => layerPath(paths, pack.quant, layer)),
  ].sort();
}

/** What lies in download/ beside shards and side files, while a setup or a repair is under way. */
export const SCRATCH_NAME =
  /^(spool|spool\.mark|CACHEDIR\.TAG|params-(dense|\d+)-\d+-(scales|biases)|repair\.(source|target))$/;

/** Length of blocks.json, exact because a hash always has 64 digits. */
export function blocksBytes(pack: PackPlan): number {
  const chains = new Map([
    [pack.dense.file, emptyChain(pack.dense.size)],
    ...pack.layers.map((layer): [string, string[]] => [
      join(expertsFolder(pack.quant), layer.file),
      emptyChain(layer.size),
    ]),
  ]);
  return Buffer.byteLength(blocksText(chains));
}

export function layoutPath(paths: ModelPaths, { quant }: Pick<PackPlan, 'quant'>): string {
  return join(basename(paths.experts(quant)), 'layout.json');
}

/** In a model's folder: the width that it takes the place of, until it is made. */
export const BEFORE_FOLDER = 'before';

/** In a model's folder while it is made of another width that is here. */
export const BEGUN_AS_FILE = 'requantise.json';

/** Beside a model that is being moved here: written first and removed last. */
export const MOVING_FILE = 'moving.json';
