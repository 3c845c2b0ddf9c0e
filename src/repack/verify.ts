// Every packed file of a model against its manifests: name, kind, size, sha256. Reads everything, changes nothing.

import { createHash } from 'node:crypto';
import { lstat, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { runJob } from '../addon/load.js';
import type { NativeAddon } from '../addon/types.js';
import { asFlashmoeError, FlashmoeError } from '../base/errors.js';

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const size = z.int().nonnegative();

const DenseFile = z.object({
  format: z.literal('flashmoe-dense'),
  version: z.literal(1),
  file_size: size,
  sha256,
});

const ExpertFiles = z.object({
  format: z.literal('flashmoe-experts'),
  version: z.literal(1),
  layers: z
    .array(z.object({ file: z.string().regex(/^layer_\d{2,5}\.bin$/), size, sha256 }))
    .min(1),
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
}

export interface VerifyOptions {
  addon: NativeAddon;
  signal?: AbortSignal;
  /** Bytes hashed so far, of all files' declared sizes. */
  onProgress?: (file: string, done: number, total: number) => void;
}

/** Hashes every packed file of the model in `root`. Throws ERR_MODEL_MISSING or ERR_MODEL_DAMAGED for a manifest. */
export async function verifyModel(root: string, options: VerifyOptions): Promise<VerifiedFile[]> {
  const { addon, signal, onProgress } = options;
  const files = await packedFiles(root);
  const total = files.reduce((sum, file) => sum + file.size, 0);
  const verified: VerifiedFile[] = [];
  let before = 0;
  for (const file of files) {
    const report = (done: number) => onProgress?.(file.path, before + done, total);
    verified.push({ ...file, problem: await problemOf(root, file, addon, report, signal) });
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
    const { layers } = await readManifest(join(root, folder, 'layout.json'), ExpertFiles);
    for (const { file, size, sha256 } of layers) {
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

async function problemOf(
  root: string,
  file: PackedFile,
  addon: NativeAddon,
  onProgress: (done: number) => void,
  signal: AbortSignal | undefined,
): Promise<string | null> {
  const path = join(root, file.path);
  try {
    const found = await lstat(path);
    if (!found.isFile()) return 'is not a regular file';
    if (found.size !== file.size) return `is ${found.size} bytes, should be ${file.size}`;
    const { sha256 } = await runJob(addon.hashFile(path, onProgress), signal);
    return sha256 === file.sha256 ? null : 'its content changed (sha256 differs)';
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return 'is missing';
    const error = asFlashmoeError(thrown);
    // A stop is no finding; a file that can't be read is.
    if (error.code !== 'ERR_IO') throw error;
    return `can't be read (${error.message})`;
  }
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
