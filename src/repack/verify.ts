// Every packed file of a model against its manifests: name, kind, size, sha256. Reads everything, changes nothing.

import { createHash } from 'node:crypto';
import { lstat, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { runJob } from '../addon/load.js';
import type { NativeAddon } from '../addon/types.js';
import { asFlashmoeError, FlashmoeError } from '../base/errors.js';
import { PACKED_NAME } from '../base/paths.js';

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const size = z.int().nonnegative();

const DenseFile = z.object({
  format: z.literal('flashmoe-dense'),
  version: z.literal(1),
  file_size: size,
  sha256,
});

const packed = z.object({ file: z.string().regex(PACKED_NAME), size, sha256 });

const ExpertFiles = z.object({
  format: z.literal('flashmoe-experts'),
  // 2: with a table of places, where experts of a layer have two widths.
  version: z.union([z.literal(1), z.literal(2)]),
  layers: z.array(packed).min(1),
  tables: z.array(packed).default([]),
});

const EXPERT_FOLDER = /^packed_experts(_[a-z0-9]+)?$/;

export interface PackedFile {
  /** Relative to the model's folder, with forward slashes. */
  path: string;
  size: number;
  sha256: string;
}

export interface VerifiedFile extends PackedFile {
  /** null when the file is as it should be. */
  problem: string | null;
  /** Blocks of 16 MiB that are not what they were; null where the whole file is in question. */
  blocks: number[] | null;
  /** Of a file that was hashed whole and is right: see NativeAddon.hashFile. */
  chain?: string[];
}

export interface VerifyOptions {
  addon: NativeAddon;
  /** By path, each leading to its file's sha256: they name the block that changed. */
  chains?: ReadonlyMap<string, readonly string[]>;
  signal?: AbortSignal;
  /** Bytes hashed so far, of all files' declared sizes. */
  onProgress?: (file: string, done: number, total: number) => void;
}

/** Hashes `files` of the model in `root`, in their order. */
export async function verifyFiles(
  root: string,
  files: readonly PackedFile[],
  options: VerifyOptions,
): Promise<VerifiedFile[]> {
  const { onProgress } = options;
  const total = files.reduce((sum, file) => sum + file.size, 0);
  const verified: VerifiedFile[] = [];
  let before = 0;
  for (const file of files) {
    const report = (done: number) => onProgress?.(file.path, before + done, total);
    const { path, size, sha256 } = file;
    verified.push({ path, size, sha256, ...(await findingOf(root, file, options, report)) });
    before += file.size;
    onProgress?.(file.path, before, total);
  }
  return verified;
}

/** What the manifests of a model declare, the dense file first. */
export async function packedFiles(root: string): Promise<PackedFile[]> {
  const dense = await readManifest(join(root, 'model_weights.json'), DenseFile);
  const files = [{ path: 'model_weights.bin', size: dense.file_size, sha256: dense.sha256 }];
  const folders = (await readdir(root).catch(rethrow)).filter((name) => EXPERT_FOLDER.test(name));
  for (const folder of folders.sort()) {
    const { layers, tables } = await readManifest(join(root, folder, 'layout.json'), ExpertFiles);
    for (const { file, size, sha256 } of [...layers, ...tables]) {
      files.push({ path: `${folder}/${file}`, size, sha256 });
    }
  }
  if (folders.length === 0) {
    throw new FlashmoeError('ERR_MODEL_MISSING', `${root}: there are no packed experts`);
  }
  return files;
}

/** Equal for two models iff all their packed files are: sha256 over sorted lines `path sha256`. */
export function contentSha256(files: readonly PackedFile[]): string {
  const lines = files.map(({ path, sha256 }) => `${path} ${sha256}\n`).sort();
  return createHash('sha256').update(lines.join('')).digest('hex');
}

type Finding = Pick<VerifiedFile, 'problem' | 'blocks' | 'chain'>;

async function findingOf(
  root: string,
  file: PackedFile,
  { addon, chains, signal }: VerifyOptions,
  onProgress: (done: number) => void,
): Promise<Finding> {
  const path = join(root, file.path);
  const whole = (problem: string): Finding => ({ problem, blocks: null });
  try {
    const found = await lstat(path);
    if (!found.isFile()) return whole('is not a regular file');
    if (found.size !== file.size) return whole(`is ${found.size} bytes, should be ${file.size}`);
    const known = chains?.get(file.path);
    if (known !== undefined) {
      const { bad } = await runJob(addon.checkBlocks(path, known, onProgress), signal);
      return bad.length === 0 ? RIGHT : { problem: changed(bad, known.length), blocks: bad };
    }
    const { sha256, chain } = await runJob(addon.hashFile(path, onProgress), signal);
    if (sha256 === file.sha256) return { ...RIGHT, chain };
    return whole('its content changed (sha256 differs)');
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return whole('is missing');
    const error = asFlashmoeError(thrown);
    // A stop is no finding; a file that can't be read is.
    if (error.code !== 'ERR_IO') throw error;
    return whole(`can't be read (${error.message})`);
  }
}

const RIGHT: Finding = { problem: null, blocks: [] };

/** Blocks are counted from 0, as their offset in 16 MiB is. */
function changed(bad: readonly number[], count: number): string {
  const named = bad.slice(0, 8).join(', ') + (bad.length > 8 ? ', …' : '');
  const which = bad.length === 1 ? `block ${named}` : `${bad.length} blocks (${named})`;
  return `its content changed in ${which} of ${count}, counted from 0, of 16 MiB each`;
}

async function readManifest<T>(path: string, schema: z.ZodType<T>): Promise<T> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw asFlashmoeError(error);
    throw new FlashmoeError('ERR_MODEL_MISSING', `${path} is missing`, { cause: error });
  }
  try {
    return schema.parse(JSON.parse(text));
  } catch (cause) {
    throw new FlashmoeError('ERR_MODEL_DAMAGED', `${path}: not a manifest this version reads`, {
      cause,
    });
  }
}

function rethrow(error: unknown): never {
  throw asFlashmoeError(error);
}
