// `make release`: the npm tarball of this tree in build/release, and a formula beside it that names its version and
// hash. Publishes nothing.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const target = join(root, 'build', 'release');
const { name, version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

rmSync(target, { recursive: true, force: true });
mkdirSync(target, { recursive: true });
// What is packed was built before: no lifecycle script runs, as none runs at install.
execFileSync('npm', ['pack', '--ignore-scripts', '--silent', '--pack-destination', target], {
  cwd: root,
  stdio: ['ignore', 'ignore', 'inherit'],
});

const tarball = join(target, `${name}-${version}.tgz`);
const sha256 = createHash('sha256').update(readFileSync(tarball)).digest('hex');

/** Exactly one place of the formula; anything else is a formula that this tool no longer knows. */
function fill(text, pattern, value) {
  const found = text.match(new RegExp(pattern, 'gm')) ?? [];
  if (found.length !== 1)
    throw new Error(`Formula/flashmoe.rb: ${found.length} lines like ${pattern}`);
  return text.replace(new RegExp(pattern, 'm'), value);
}

const url = `https://github.com/flashmoe/flashmoe/releases/download/v${version}/${name}-${version}.tgz`;
let formula = readFileSync(join(root, 'Formula', 'flashmoe.rb'), 'utf8');
formula = fill(formula, '^  url ".*"$', `  url "${url}"`);
formula = fill(formula, '^  sha256 "[0-9a-f]{64}"$', `  sha256 "${sha256}"`);
writeFileSync(join(target, 'flashmoe.rb'), formula);

console.log(`version  ${version}`);
console.log(`sha256   ${sha256}`);
console.log(`tarball  ${tarball}`);
console.log(`formula  ${join(target, 'flashmoe.rb')}`);
