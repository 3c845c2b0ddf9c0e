// What an installed user gets, and whether a Mac can install from a lock written elsewhere.

import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '../..');

interface LockPackage {
  optionalDependencies?: Record<string, string>;
}
const lockText = readFileSync(resolve(root, 'package-lock.json'), 'utf8');
const lock = JSON.parse(lockText) as { packages: Record<string, LockPackage> };

const isBuilt = existsSync(resolve(root, 'dist/.built'));
if (!isBuilt) console.log('SKIP contents of the npm package: dist/ is not built, run `make build`');

test.skipIf(!isBuilt)(
  'the npm package holds what runs and what builds, and no tests',
  () => {
    const answer = execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
      cwd: root,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const [pack] = JSON.parse(answer) as { files: { path: string }[] }[];
    const paths = pack?.files.map(({ path }) => path) ?? [];
    for (const needed of [
      'dist/cli/main.js',
      'dist/cli/main.js.map',
      'dist/index.js',
      'dist/index.d.ts',
      'dist/engine/grammar/worker.mjs',
      'dist/engine/prompt-worker/thread.mjs',
      'dist/THIRD-PARTY-NOTICES.txt',
      'templates/systemd.service.in',
      'native/addon/addon.cpp',
      'native/sources.mjs',
      'native/build.mjs',
      'binding.gyp',
      'models/tiny/config.json',
      'LICENSE',
    ]) {
      expect(paths).toContain(needed);
    }
    const foreign =
      /(^|\/)(test|src|tools|docs|build|\.demo|node_modules)\/|\.tsbuildinfo$|\.test\./;
    expect(paths.filter((path) => foreign.test(path))).toEqual([]);
  },
  180_000,
);

test('the lock names no registry, only hashes', () => {
  expect(lockText).not.toContain('"resolved"');
  expect(lockText).toContain('"integrity"');
});

test('every package that brings a binary for Linux has its binary for Apple silicon in the lock', () => {
  const names = new Set(
    Object.keys(lock.packages).map((path) => path.replace(/^.*node_modules\//, '')),
  );
  const missing: string[] = [];
  let checked = 0;
  for (const [path, { optionalDependencies = {} }] of Object.entries(lock.packages)) {
    const optional = Object.keys(optionalDependencies);
    if (!optional.some((name) => /linux-(x64|arm64)/.test(name))) continue;
    const binary = optional.find((name) => name.includes('darwin-arm64'));
    if (binary === undefined || !names.has(binary))
      missing.push(`${path}: ${binary ?? 'none named'}`);
    checked += 1;
  }
  expect(missing).toEqual([]);
  expect(checked).toBeGreaterThan(0);
});

test('versions of dependencies are exact, because no lock reaches an installed user', () => {
  const { dependencies } = JSON.parse(readFileSync(resolve(root, 'package.json'), 'utf8')) as {
    dependencies: Record<string, string>;
  };
  for (const [name, version] of Object.entries(dependencies)) {
    expect(version, name).toMatch(/^\d+\.\d+\.\d+$/);
  }
});
