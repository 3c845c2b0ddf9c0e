// A finished model as the one repository of a share: the files of its manifest by the manifest's hashes, and
// the manifest and plan themselves.

import { basename, join } from 'node:path';
import { FlashmoeError } from '../base/errors.js';
import type { ModelPaths } from '../base/paths.js';
import { commitOf, describeFile, type BundledRepo } from '../hub/bundled-repo.js';
import { SHARED_REPO } from '../hub/share-server.js';
import { fileSize } from '../store/disk-sizes.js';
import type { ModelManifest } from '../store/manifest.js';
import { trustedChains } from '../store/repair/chains.js';
import { readStoredPlan } from '../store/stored-plan.js';

/** Reads sizes, not contents: the other side checks every byte. Throws ERR_MODEL_DAMAGED for what it couldn't use. */
export async function sharedRepo(
  id: string,
  paths: ModelPaths,
  manifest: ModelManifest,
): Promise<BundledRepo> {
  const stored = await readStoredPlan(paths.plan);
  if (stored?.pack.fingerprint !== manifest.fingerprint) {
    throw unfit(id, `${paths.plan} is lost`, `flashmoe setup --repo ${manifest.repo}`);
  }
  const chains = await trustedChains(paths, manifest);
  if (manifest.files.some(({ path }) => path.endsWith('.bin') && !chains.has(path))) {
    throw unfit(id, 'it has no block hashes to check a copy by', `flashmoe verify ${id}`);
  }
  const files = await Promise.all(
    manifest.files.map(async ({ path, size, sha256 }) => {
      const absolutePath = join(paths.root, path);
      if ((await fileSize(absolutePath)) !== size) {
        throw unfit(id, `${absolutePath} is not whole`, `flashmoe verify ${id} --repair`);
      }
      return describeFile({ path, absolutePath, size }, sha256);
    }),
  );
  for (const absolutePath of [paths.manifest, paths.plan]) {
    const size = (await fileSize(absolutePath)) ?? 0;
    files.push(await describeFile({ path: basename(absolutePath), absolutePath, size }, null));
  }
  return { id: SHARED_REPO, commit: commitOf(files), files };
}

function unfit(id: string, why: string, hint: string): FlashmoeError {
  return new FlashmoeError('ERR_MODEL_DAMAGED', `${id} can't be shared: ${why}`, {
    hint: `\`${hint}\`, then share it`,
    subject: id,
  });
}
