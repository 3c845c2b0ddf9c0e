// dist/ as it is published: the command and the library, each an entry of its own with what they share and what a command loads only
// when it runs in chunks beside them; the files that threads start from; source maps; declarations; notices of what was bundled.
// With --no-types there are no declarations: tests need none.
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const dist = join(root, 'dist');
const withTypes = !process.argv.includes('--no-types');

/** Native code, WebAssembly that finds itself by its path, and views that are loaded on a terminal only. */
const EXTERNAL = [
  ...['@huggingface/hub', '@mlc-ai/web-xgrammar', 'ink', 'react', 'react/jsx-runtime'],
  ...['node-addon-api', 'node-gyp'],
];

const common = {
  absWorkingDir: root,
  outbase: 'src',
  outdir: 'dist',
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'esm',
  sourcemap: true,
  sourcesContent: false,
  external: EXTERNAL,
  // Its other build asks for its parts at run time.
  alias: { 'jsonc-parser': 'jsonc-parser/lib/esm/main.js' },
  metafile: true,
  legalComments: 'none',
  // Less to read at every start; names stay, so that a stack says where it was.
  minifyWhitespace: true,
  minifySyntax: true,
  logLevel: 'warning',
  // CommonJS packages among the bundled ones ask for Node's own modules by require.
  banner: {
    js: "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url);",
  },
};

// Nothing of an earlier build stays.
rmSync(dist, { recursive: true, force: true });

const results = await Promise.all([
  build({
    ...common,
    entryPoints: ['src/cli/main.ts', 'src/index.ts'],
    splitting: true,
    chunkNames: 'chunks/[name]-[hash]',
  }),
  build({
    ...common,
    entryPoints: ['src/engine/grammar/worker.mjs', 'src/engine/prompt-worker/thread.mjs'],
    outExtension: { '.js': '.mjs' },
  }),
]);
// The command's first file asks for nothing: what it does not need is not loaded before the version is told.
const main = join(dist, 'cli', 'main.js');
writeFileSync(main, readFileSync(main, 'utf8').replace(common.banner.js, ''));
chmodSync(main, 0o755);
// The page reads Markdown in the browser, with what the terminal's chat reads it with: an installation has no such package.
mkdirSync(join(dist, 'page'));
copyFileSync(fileURLToPath(import.meta.resolve('marked')), join(dist, 'page', 'marked.js'));
writeFileSync(join(dist, 'THIRD-PARTY-NOTICES.txt'), notices(results));
if (withTypes) {
  execFileSync(
    process.execPath,
    [join(root, 'node_modules/typescript/bin/tsc'), '-p', 'tsconfig.build.json'],
    { cwd: root, stdio: 'inherit' },
  );
}

function notices(all) {
  const inputs = all.flatMap(({ metafile }) => Object.keys(metafile.inputs));
  const folders = new Set(
    inputs.flatMap((path) => /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1] ?? []),
  );
  const texts = [...folders].sort().map((folder) => {
    const { name, version, license } = JSON.parse(
      readFileSync(join(root, folder, 'package.json'), 'utf8'),
    );
    const file = readdirSync(join(root, folder)).find((each) =>
      /^(licen[cs]e|copying)/i.test(each),
    );
    const text =
      file === undefined ? '' : `\n\n${readFileSync(join(root, folder, file), 'utf8').trim()}`;
    return `${name} ${version} (${license ?? 'see its package'})${text}`;
  });
  const rule = `\n\n${'-'.repeat(78)}\n\n`;
  return `flashmoe contains parts of these packages.${rule}${texts.join(rule)}\n`;
}
