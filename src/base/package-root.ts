// Where the package lies. Modules are bundled, so none of them may look for a file relative to itself.

import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder of package.json. */
export const packageRoot = nearestPackage(dirname(fileURLToPath(import.meta.url)));

/** A built file that a thread, a process or the page starts from, for example `engine/grammar/worker.mjs`. */
export function startFile(path: string): string {
  return join(packageRoot, 'dist', path);
}

function nearestPackage(folder: string): string {
  if (existsSync(join(folder, 'package.json'))) return folder;
  const parent = dirname(folder);
  if (parent === folder) throw new Error('flashmoe has lost its package.json');
  return nearestPackage(parent);
}
