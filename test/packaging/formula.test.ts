import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '../..');
const path = resolve(root, 'Formula/flashmoe.rb');
const formula = readFileSync(path, 'utf8');

const hasRuby = spawnSync('ruby', ['--version']).status === 0;
if (!hasRuby) console.log('SKIP syntax of the formula: install ruby');

test.skipIf(!hasRuby)('the formula is Ruby', () => {
  const { status, stderr } = spawnSync('ruby', ['-c', path], { encoding: 'utf8' });
  expect(stderr).toBe('');
  expect(status).toBe(0);
});

const hasRubocop = spawnSync('rubocop', ['--version']).status === 0;
if (!hasRubocop) console.log('SKIP style of the formula: install rubocop');

test.skipIf(!hasRubocop)('the formula keeps to the style of .rubocop.yml', () => {
  const args = ['--format', 'simple', '--cache', 'false', path];
  const { status, stdout } = spawnSync('rubocop', args, { cwd: root, encoding: 'utf8' });
  expect(stdout).toContain('no offenses detected');
  expect(status).toBe(0);
});

test('the formula builds, serves, tests and tells the next command', () => {
  for (const part of ['native/ensure.mjs', 'service do', 'test do', 'livecheck do', 'caveats']) {
    expect(formula).toContain(part);
  }
  expect(formula).toContain('generate_completions_from_executable(bin/"flashmoe", "completions")');
});

test('the formula installs the version of this tree', () => {
  const { version } = JSON.parse(readFileSync(resolve(root, 'package.json'), 'utf8')) as {
    version: string;
  };
  expect(formula).toContain(`/v${version}/flashmoe-${version}.tgz"`);
});

test('the formula names no versioned path, which an upgrade would delete', () => {
  expect(formula).not.toContain('/Cellar/');
});
