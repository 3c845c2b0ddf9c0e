// Loads modules of src/ as they are now. They are bundled into one file below build/, so that all of them share what they import;
// threads start from dist/, which has to be built where an engine is opened. `node tools/typescript.mjs FILE ARGUMENTS` runs a program.
import { createHash } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { buildSync } from 'esbuild';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/** What they export, together: `importSources('addon/load', 'repack/verify')`. */
export async function importSources(...modules) {
  return await load(modules.map((module) => `export * from './src/${module}.js';`).join('\n'));
}

async function load(contents) {
  const name = createHash('sha256').update(contents).digest('hex').slice(0, 16);
  const outfile = join(root, 'build', 'sources', `${name}-${process.pid}.mjs`);
  mkdirSync(dirname(outfile), { recursive: true });
  buildSync({
    stdin: { contents, resolveDir: root },
    outfile,
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    target: 'node20',
    sourcemap: 'inline',
    logLevel: 'error',
  });
  return import(pathToFileURL(outfile).href);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [program = ''] = process.argv.splice(2, 1);
  await load(`import ${JSON.stringify(resolve(program))};`);
}
