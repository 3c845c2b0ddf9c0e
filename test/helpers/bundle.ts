// A program of the tests with everything it imports as one module: a child that is started fifty times
// should not read a hundred files each time.

import { rename } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** Threads that sources start, each from a module beside the one that starts it. */
const THREADS = ['src/engine/prompt-worker/thread.mjs'];

/** Path of the bundle; two folders below the package, as sources and builds are. */
export async function bundleProgram(program: URL, name: string): Promise<string> {
  for (const thread of THREADS) await bundleOne(join(ROOT, thread), basename(thread));
  return await bundleOne(fileURLToPath(program), `${name}.mjs`);
}

async function bundleOne(input: string, name: string): Promise<string> {
  const file = join(ROOT, 'build', 'test-programs', name);
  const own = `${file}.${process.pid}`;
  const bundle = await rolldown({
    input,
    platform: 'node',
    logLevel: 'silent',
    resolve: { extensionAlias: { '.js': ['.ts', '.js'] } },
    // Found through their own package.json at run time.
    external: [/^node-gyp/, /^node-addon-api/],
  });
  await bundle.write({ file: own, format: 'esm', codeSplitting: false });
  await bundle.close();
  // Several test files may bundle the same program at once.
  await rename(own, file);
  return file;
}
