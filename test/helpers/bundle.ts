// A program of the tests with everything it imports as one module: a child that is started fifty times
// should not read a hundred files each time.

import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** Path of the bundle; two folders below the package, as sources and builds are. */
export async function bundleProgram(program: URL, name: string): Promise<string> {
  const file = join(ROOT, 'build', 'test-programs', `${name}.mjs`);
  const own = `${file}.${process.pid}`;
  const bundle = await rolldown({
    input: fileURLToPath(program),
    platform: 'node',
    logLevel: 'silent',
    // Found through their own package.json at run time.
    external: [/^node-gyp/, /^node-addon-api/],
  });
  await bundle.write({ file: own, format: 'esm', codeSplitting: false });
  await bundle.close();
  // Several test files may bundle the same program at once.
  await rename(own, file);
  return file;
}
