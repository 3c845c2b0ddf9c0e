// blocks.json as far as it may be believed: it is what the manifest lists, and each chain leads to its file's hash.

import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import * as z from 'zod';
import type { ModelPaths } from '../../base/paths.js';
import { BLOCK_BYTES } from '../../repack/blocks.js';
import type { ModelManifest, OwnedFile } from '../manifest.js';

const blockHashes = z.object({
  format: z.literal('flashmoe-blocks'),
  version: z.literal(1),
  blockBytes: z.literal(BLOCK_BYTES),
  files: z.record(z.string(), z.array(z.string().regex(/^[0-9a-f]{64}$/))),
});

/** By path; without those that don't fit, and empty where the file is missing or not what it was. */
export async function trustedChains(
  paths: Pick<ModelPaths, 'blocks'>,
  manifest: Pick<ModelManifest, 'files'>,
): Promise<Map<string, string[]>> {
  const listed = manifest.files.find(({ path }) => path === basename(paths.blocks));
  const text = await readFile(paths.blocks).catch(() => null);
  if (listed === undefined || text === null) return new Map();
  if (createHash('sha256').update(text).digest('hex') !== listed.sha256) return new Map();
  return chainsIn(text.toString('utf8'), manifest);
}

/** The same of the text itself, which is what the manifest lists. */
export function chainsIn(
  text: string,
  manifest: Pick<ModelManifest, 'files'>,
): Map<string, string[]> {
  const { files } = blockHashes.parse(JSON.parse(text));
  const fits = ({ path, size, sha256 }: OwnedFile): boolean =>
    files[path]?.length === blockCount(size) && files[path].at(-1) === sha256;
  return new Map(manifest.files.filter(fits).map(({ path }) => [path, files[path] ?? []]));
}

export function blockCount(size: number): number {
  return Math.max(1, Math.ceil(size / BLOCK_BYTES));
}
