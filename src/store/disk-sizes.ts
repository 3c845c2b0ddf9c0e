// Sizes of what a setup left in a model's folder, for state.ts to believe or not. Reads names and sizes only.

import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { PARTIAL_SUFFIX } from '../base/atomic-file.js';
import type { ModelPaths } from '../base/paths.js';
import { layerPath, smallFiles, type StoredFiles } from './model-files.js';
import type { DiskSizes } from './state.js';

export async function readDiskSizes(paths: ModelPaths, files: StoredFiles): Promise<DiskSizes> {
  const names = [
    files.pack.dense.file,
    ...smallFiles(files).map(({ path }) => path),
    ...files.pack.layers.map((layer) => layerPath(paths, files.pack.quant, layer)),
  ];
  const sizes = await Promise.all(names.map((name) => fileSize(join(paths.root, name))));
  const found = names.flatMap((name, index): [string, number][] => {
    const size = sizes[index] ?? null;
    return size === null ? [] : [[name, size]];
  });
  const layerSizes = async (suffix: string): Promise<Map<number, number>> => {
    const found = new Map<number, number>();
    for (const layer of files.pack.layers) {
      const path = join(paths.root, layerPath(paths, files.pack.quant, layer));
      const size = await fileSize(path + suffix);
      if (size !== null) found.set(layer.layer, size);
    }
    return found;
  };
  return {
    shards: await shardSizes(paths.download),
    files: new Map(found),
    partials: await layerSizes(PARTIAL_SUFFIX),
    named: await layerSizes(''),
    densePartial: await fileSize(join(paths.root, files.pack.dense.file + PARTIAL_SUFFIX)),
  };
}

async function shardSizes(download: string): Promise<Map<string, number>> {
  const names = await readdir(download).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  const sizes = new Map<string, number>();
  for (const name of names) {
    const size = await fileSize(join(download, name));
    if (size !== null) sizes.set(name, size);
  }
  return sizes;
}

/** Of a regular file; a link or a folder at that name is not what we wrote. */
export async function fileSize(path: string): Promise<number | null> {
  try {
    const found = await lstat(path);
    return found.isFile() ? found.size : null;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
    throw error;
  }
}
