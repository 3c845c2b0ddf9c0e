// The files of a finished model that follow from its plan and from the hashes of the others, word for word as
// the setup wrote them.

import { basename } from 'node:path';
import type { ModelPaths } from '../../base/paths.js';
import { blocksText } from '../../repack/blocks.js';
import { denseManifest, expertsManifest, manifestText } from '../../repack/manifests.js';
import type { OwnedFile } from '../manifest.js';
import { layerPath, layoutPath } from '../model-files.js';
import type { StoredPlan } from '../stored-plan.js';

/** Path → its text. `chainOf` gives the chain of a packed file; asked for blocks.json only. */
export function recordTexts(
  paths: ModelPaths,
  { pack }: Pick<StoredPlan, 'pack'>,
  files: readonly OwnedFile[],
  chainOf: (path: string) => Promise<string[]>,
): Record<string, () => Promise<string>> {
  const sha256 = (path: string): string => {
    const found = files.find((file) => file.path === path);
    if (found === undefined) throw new RangeError(`no hash for ${path}`);
    return found.sha256;
  };
  const layers = pack.layers.map((layer) => ({
    ...layer,
    path: layerPath(paths, pack.quant, layer),
  }));
  return {
    [basename(paths.denseManifest)]: () =>
      Promise.resolve(manifestText(denseManifest(pack, sha256(pack.dense.file)))),
    [layoutPath(paths, pack)]: () => {
      const hashes = new Map(layers.map(({ layer, path }) => [layer, sha256(path)]));
      return Promise.resolve(manifestText(expertsManifest(pack, hashes)));
    },
    [basename(paths.blocks)]: async () => {
      const chains = new Map<string, string[]>();
      for (const { path } of [...layers, { path: pack.dense.file }]) {
        chains.set(path, await chainOf(path));
      }
      return blocksText(chains);
    },
  };
}
