// A local checkpoint packed in one go: for `logits` on a plain folder, and for tests.

import { copyFile, mkdir, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { runJob } from '../addon/load.js';
import type { NativeAddon } from '../addon/types.js';
import { asFlashmoeError, FlashmoeError } from '../base/errors.js';
import type { Quant } from '../models/quant.js';
import { isSideFile } from '../models/repository-files.js';
import { CALIBRATION_FILE, readCalibration } from './calibration.js';
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
  const plan = await planDirectory(source, options);
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
  if (plan.dense.conversions === undefined) {
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
  for (const file of (await readdir(source)).filter(isSideFile)) {
    await copyFile(join(source, file), join(target, file));
  }
  return { plan, modelDir: target, expertsDir };
}

/** The plan for a local folder; every shard is hashed. */
export async function planDirectory(
  source: string,
  options: PackDirectoryOptions,
): Promise<PackPlan> {
  const { addon, quant, size = null, signal } = options;
  const config = await readJson(source, 'config.json');
  const files = await readdir(source).catch((error: unknown) => {
    throw asFlashmoeError(error);
  });
  const indexName = 'model.safetensors.index.json';
  const index = files.includes(indexName)
    ? parseIndex(await readSmall(join(source, indexName)))
    : null;
  const sources: ShardSource[] = [];
  for (const path of selectShards(files)) {
    const file = join(source, path);
    const { sha256, bytes } = await runJob(
      addon.hashFile(file, () => undefined),
      signal,
    );
    sources.push({ path, size: bytes, sha256, read: fileRange(file) });
  }
  const { inventory, warnings } = await readInventory(sources, index);
  // A folder has no commit; its shards' hashes identify it all the same.
  const [repo, commit] = ['local/folder', 'local'];
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
