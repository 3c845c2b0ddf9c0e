// A program of the tests with everything it imports as one module: a child that is started fifty times
// should not read a hundred files each time.

import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** Path of the bundle; two folders below the package, as sources and builds are. */
export async function bundleProgram(program: URL, name: string): Promise<string> {
  const file = join(ROOT, 'build', 'test-programs', `${name}-${process.pid}.mjs`);
  const bundle = await rolldown({
    input: fileURLToPath(program),
    platform: 'node',
    logLevel: 'silent',
    // Found through their own package.json at run time.
    external: [/^node-gyp/, /^node-addon-api/],
  });
  await bundle.write({ file, format: 'esm', codeSplitting: false });
  await bundle.close();
  return file;
}
