// The layer files of an installed model, and the size of one expert in them.

import { readFile, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import type { ExpertsManifest } from '../models/spec.js';
import type { ModelFiles } from './context.js';

export interface Experts {
  model: ModelFiles;
  files: string[];
  expertBytes: number;
  totalBytes: number;
}

/** Never throws: a model whose files are not there has none. */
export async function expertFiles(model: ModelFiles): Promise<Experts> {
  const folder = `${model.experts}/`;
  const layers = model.files.filter(({ path }) => path.startsWith(folder) && path.endsWith('.bin'));
  const layout = await readFile(join(model.root, folder, 'layout.json'), 'utf8').then(
    (text) => JSON.parse(text) as Partial<ExpertsManifest>,
    () => null,
  );
  return {
    model,
    files: await Promise.all(layers.map(({ path }) => realpath(join(model.root, path)))).catch(
      // A missing file is models.files' finding.
      () => [],
    ),
    expertBytes: layout?.layouts?.[0]?.expert_stride ?? 0,
    totalBytes: layers.reduce((sum, { size }) => sum + size, 0),
  };
}
