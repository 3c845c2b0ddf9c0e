// A program of the tests with everything it imports as one module. Threads that sources start come from dist/.

import { createHash } from 'node:crypto';
import { renameSync } from 'node:fs';
import { basename, join } from 'node:path';
import { buildSync } from 'esbuild';
import { projectRoot } from './built-cli.js';

const built = new Map<string, string>();

/**
 * What node starts for a program: of TypeScript its bundle, made once for a test file. What it imports finds files from
 * `packageRoot`, never from `import.meta.url`.
 */
export function builtProgram(source: string): string {
  if (!source.endsWith('.ts')) return source;
  const path = built.get(source) ?? bundle(source);
  built.set(source, path);
  return path;
}

function bundle(source: string): string {
  const place = createHash('sha256').update(source).digest('hex').slice(0, 8);
  const path = join(projectRoot, `build/test-programs/${basename(source, '.ts')}-${place}.mjs`);
  // Several test files may bundle the same program at once.
  const own = `${path}.${process.pid}.mjs`;
  buildSync({
    absWorkingDir: projectRoot,
    entryPoints: [source],
    outfile: own,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    jsx: 'automatic',
    // As tools/build.mjs has them.
    external: ['node-gyp', 'node-addon-api', '@mlc-ai/web-xgrammar', 'ink', 'react'],
    banner: {
      js: "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url);",
    },
    logLevel: 'error',
  });
  renameSync(own, path);
  return path;
}
