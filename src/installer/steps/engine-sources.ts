// Which sources an addon in the home was built from: after an upgrade of flashmoe it has to be built
// again, although it still loads.

import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join, relative } from 'node:path';

export function buildRecordPath(engineDir: string): string {
  return join(engineDir, 'build.json');
}

/** sha256 in hex over names and contents of everything that is compiled. */
export async function sourceDigest(root: string): Promise<string> {
  const files = [join(root, 'binding.gyp'), ...(await compiledFiles(join(root, 'native')))];
  const hash = createHash('sha256');
  for (const file of files.sort()) {
    const content = await readFile(file);
    hash.update(`${relative(root, file)}\0${content.length}\0`).update(content);
  }
  return hash.digest('hex');
}

/** True when the addon in the home was built from the sources of this package. */
export async function isCurrentBuild(engineDir: string, root: string): Promise<boolean> {
  try {
    const record = JSON.parse(await readFile(buildRecordPath(engineDir), 'utf8')) as unknown;
    return (record as { sources?: unknown }).sources === (await sourceDigest(root));
  } catch {
    // No record, or one of a crash: then nothing says what the binary is.
    return false;
  }
}

async function compiledFiles(native: string): Promise<string[]> {
  const entries = await readdir(native, { recursive: true, withFileTypes: true });
  const skipped = [join(native, 'test'), join(native, 'build')];
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => !skipped.some((folder) => path.startsWith(`${folder}/`)));
}
