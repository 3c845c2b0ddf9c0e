// A local checkpoint packed in one go: for `logits` on a plain folder, and for tests.

import { copyFile, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runJob } from '../addon/load.js';
import type { NativeAddon } from '../addon/types.js';
import { asFlashmoeError, FlashmoeError } from '../base/errors.js';
import type { Quant } from '../models/quant.js';
import { readGgufModel } from '../models/gguf/registry.js';
import { ggufSideFiles } from '../models/gguf/side-files.js';
import { isSideFile } from '../models/repository-files.js';
import { CALIBRATION_FILE, readCalibration } from './calibration.js';
import { chooseGguf, readGgufFiles } from './gguf-files.js';
import { buildGgufPlan } from './gguf-plan.js';
import { parseIndex, readInventory, selectShards, type ShardSource } from './inventory.js';
import { extractDense, finishDense, packLayer, type PackTarget, writeLayout } from './pack.js';
import { buildPlan } from './plan.js';
import { fileRange } from './shard-source.js';
import type { PackPlan } from './types.js';
import { writeDirectory } from './write-directory.js';

/** Config and index files are a few hundred kilobytes. */
const MAX_JSON_BYTES = 64 << 20;

export interface PackDirectoryOptions {
  addon: NativeAddon;
  quant: Quant;
  /** As of a plan's input. */
  size?: number;
  calibration?: string;
  likeMlx?: boolean;
  /** Of a GGUF model: which file, with `*` and `?`. */
  file?: string;
  threads: number;
  signal?: AbortSignal;
}

export interface PackedDirectory {
  plan: PackPlan;
  /** Folders as the engine's options take them. */
  modelDir: string;
  expertsDir: string;
}

/** Packs `source` into `target` (created). Tokenizer and configs are copied beside the weights. */
export async function packDirectory(
  source: string,
  target: string,
  options: PackDirectoryOptions,
): Promise<PackedDirectory> {
  const { addon, quant, threads, signal } = options;
  const { plan, texts } = await planWithTexts(source, options);
  const expertsDir = join(target, quant === '4bit' ? 'packed_experts' : `packed_experts_${quant}`);
  const to: PackTarget = {
    addon,
    root: target,
    expertsDir,
    shardPath: (shard) => join(source, shard),
    threads,
    ...(signal && { signal }),
  };
  await mkdir(target, { recursive: true });
  if (options.calibration !== undefined) {
    await copyFile(options.calibration, join(target, CALIBRATION_FILE));
  }
  const hashes = new Map<number, string>();
  const isMade = [plan.dense, ...plan.layers].some(({ conversions }) => conversions !== undefined);
  if (!isMade) {
    for (const shard of plan.order) await extractDense(plan, shard, to);
    for (const { layer } of plan.layers) {
      hashes.set(layer, (await packLayer(plan, layer, to)).sha256);
    }
  } else {
    await writeDirectory(plan, to);
    for (const { layer, file } of plan.layers) {
      const job = addon.hashFile(join(expertsDir, file), () => undefined);
      hashes.set(layer, (await runJob(job, signal)).sha256);
    }
  }
  await finishDense(plan, to);
  await writeLayout(plan, hashes, to);
  if (texts === null) {
    for (const file of (await readdir(source)).filter(isSideFile)) {
      await copyFile(join(source, file), join(target, file));
    }
  }
  for (const [file, text] of Object.entries(texts ?? {})) await writeFile(join(target, file), text);
  return { plan, modelDir: target, expertsDir };
}

/** The plan for a local folder; every shard is hashed. */
export async function planDirectory(
  source: string,
  options: PackDirectoryOptions,
): Promise<PackPlan> {
  return (await planWithTexts(source, options)).plan;
}

/** `texts`: small files that are made; null where they are the folder's own. */
async function planWithTexts(
  source: string,
  options: PackDirectoryOptions,
): Promise<{ plan: PackPlan; texts: Record<string, string> | null }> {
  const files = await readdir(source).catch((error: unknown) => {
    throw asFlashmoeError(error);
  });
  const { file = null } = options;
  const isOther = files.some((path) => path.endsWith('.safetensors'));
  const gguf = file === null && isOther ? null : chooseGguf(files, file);
  if (gguf === null) return { plan: await planShards(source, files, options), texts: null };
  const read = await readGgufFiles(await hashedSources(source, gguf, options));
  const { quant } = options;
  const plan = buildGgufPlan({ ...read, repo: LOCAL.repo, commit: LOCAL.commit, quant });
  const model = readGgufModel(read.metadata, (name) => read.inventory.tensors.has(name));
  return { plan, texts: ggufSideFiles(read.metadata, model) };
}

/** A folder has no commit; its shards' hashes identify it all the same. */
const LOCAL = { repo: 'local/folder', commit: 'local' };

async function hashedSources(
  source: string,
  paths: readonly string[],
  { addon, signal }: PackDirectoryOptions,
): Promise<ShardSource[]> {
  const sources: ShardSource[] = [];
  for (const path of paths) {
    const file = join(source, path);
    const { sha256, bytes } = await runJob(
      addon.hashFile(file, () => undefined),
      signal,
    );
    sources.push({ path, size: bytes, sha256, read: fileRange(file) });
  }
  return sources;
}

async function planShards(
  source: string,
  files: readonly string[],
  options: PackDirectoryOptions,
): Promise<PackPlan> {
  const { quant, size = null } = options;
  const config = await readJson(source, 'config.json');
  const indexName = 'model.safetensors.index.json';
  const index = files.includes(indexName)
    ? parseIndex(await readSmall(join(source, indexName)))
    : null;
  const sources = await hashedSources(source, selectShards(files), options);
  const { inventory, warnings } = await readInventory(sources, index);
  const { repo, commit } = LOCAL;
  const read =
    options.calibration === undefined ? null : await readCalibration(options.calibration);
  const calibration = read && { ...read, repo };
  const { likeMlx = false } = options;
  return buildPlan({
    config,
    inventory,
    warnings,
    repo,
    commit,
    quant,
    size,
    calibration,
    likeMlx,
  });
}

async function readJson(folder: string, name: string): Promise<unknown> {
  const path = join(folder, name);
  try {
    return JSON.parse(await readSmall(path)) as unknown;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new FlashmoeError('ERR_UNSUPPORTED_MODEL', `${path}: not JSON (${error.message})`);
  }
}

async function readSmall(path: string): Promise<string> {
  try {
    const { size } = await stat(path);
    if (size > MAX_JSON_BYTES) {
      throw new FlashmoeError('ERR_UNSUPPORTED_MODEL', `${path}: ${size} bytes are too many`);
    }
    return await readFile(path, 'utf8');
  } catch (error) {
    throw asFlashmoeError(error);
  }
}
