// Where the package lies, and where the code that runs: src/ in tests, else dist/. Modules are bundled, so none of
// them may look for a file relative to itself.

import { existsSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder of package.json. */
export const packageRoot = nearestPackage(dirname(fileURLToPath(import.meta.url)));

/** The folder with files that are started by their path, at the same places in src/ and in dist/. */
const codeRoot = join(
  packageRoot,
  relative(packageRoot, fileURLToPath(import.meta.url)).startsWith('src') ? 'src' : 'dist',
);

/** A file that a thread or a process starts from, for example `engine/grammar/worker.mjs`. */
export function startFile(path: string): string {
  return join(codeRoot, path);
}

function nearestPackage(folder: string): string {
  if (existsSync(join(folder, 'package.json'))) return folder;
  const parent = dirname(folder);
  if (parent === folder) throw new Error('flashmoe has lost its package.json');
  return nearestPackage(parent);
}
