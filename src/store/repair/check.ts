// A finished model against its manifest: every file, and by its chain every block of the packed ones. A pack
// of an older version that has no block hashes gets them here, once its whole hashes were right.

import { createHash } from 'node:crypto';
import { basename } from 'node:path';
import { writeFileAtomic } from '../../base/atomic-file.js';
import { FlashmoeError } from '../../base/errors.js';
import { acquireLock } from '../../base/file-lock.js';
import type { ModelPaths } from '../../base/paths.js';
import { blocksText } from '../../repack/blocks.js';
import {
  packedFiles,
  verifyFiles,
  type VerifiedFile,
  type VerifyOptions,
} from '../../repack/verify.js';
import { writeManifest, type ModelManifest } from '../manifest.js';
import { trustedChains } from './chains.js';

export interface CheckedModel {
  files: VerifiedFile[];
  /** Block hashes were missing and have been written. */
  blocksAdded: boolean;
}

/** Reads everything. Changes nothing but for block hashes that were never there. */
export async function checkModel(
  paths: ModelPaths,
  manifest: ModelManifest,
  options: Omit<VerifyOptions, 'chains'>,
): Promise<CheckedModel> {
  const chains = await trustedChains(paths, manifest);
  const files = await verifyFiles(paths.root, manifest.files, { ...options, chains });
  const isRight = files.every(({ problem }) => problem === null);
  if (isRight) files.push(...(await disagreeing(paths, manifest)));
  const lacksBlocks = manifest.files.every(({ path }) => path !== basename(paths.blocks));
  const blocksAdded = isRight && lacksBlocks && (await addBlocks(paths, manifest, files));
  return { files, blocksAdded };
}

/** The two records of a packed file must tell the same, or one of them was changed. */
async function disagreeing(paths: ModelPaths, manifest: ModelManifest): Promise<VerifiedFile[]> {
  const own = new Map((await packedFiles(paths.root)).map((file) => [file.path, file.sha256]));
  return manifest.files.flatMap(({ path, size, sha256 }) => {
    if ((own.get(path) ?? sha256) === sha256) return [];
    const problem = 'manifest.json and its own manifest disagree';
    return [{ path, size, sha256, problem, blocks: null }];
  });
}

/** False while somebody else is at work in the folder: the next check does it. */
async function addBlocks(
  paths: ModelPaths,
  manifest: ModelManifest,
  verified: readonly VerifiedFile[],
): Promise<boolean> {
  const chains = new Map(
    verified.flatMap(({ path, chain }): [string, string[]][] =>
      path.endsWith('.bin') && chain !== undefined ? [[path, chain]] : [],
    ),
  );
  const text = blocksText(chains);
  const added = {
    path: basename(paths.blocks),
    size: Buffer.byteLength(text),
    sha256: createHash('sha256').update(text).digest('hex'),
  };
  const lock = await acquireLock(paths.lock).catch((error: unknown) => {
    if (error instanceof FlashmoeError && error.code === 'ERR_LOCKED') return null;
    throw error;
  });
  if (lock === null) return false;
  try {
    await writeFileAtomic(paths.blocks, text);
    await writeManifest(paths.manifest, withFile(manifest, added));
  } finally {
    await lock.release();
  }
  return true;
}

function withFile(manifest: ModelManifest, added: ModelManifest['files'][number]): ModelManifest {
  const files = [...manifest.files, added].sort((a, b) => (a.path < b.path ? -1 : 1));
  return { ...manifest, files, finalBytes: manifest.finalBytes + added.size };
}
