// Nothing of the machine it was made on belongs into the tree.

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '../..');

function trackedFiles(): string[] {
  const listed = execFileSync('git', ['ls-files', '-z'], { cwd: root, encoding: 'utf8' });
  const binary = /\.(safetensors|bin|model|png)$/;
  return listed.split('\0').filter((path) => path !== '' && !binary.test(path));
}

let isCheckout = true;
try {
  execFileSync('git', ['rev-parse', '--is-inside-work-tree'], { cwd: root, stdio: 'ignore' });
} catch {
  isCheckout = false;
  console.log('SKIP tree hygiene: not a git checkout');
}

// Written in pieces, so that this file doesn't find itself.
const FOREIGN: [string, RegExp][] = [
  [
    'a home or work folder of one machine',
    new RegExp(`(?<![\\w.~-])/(${['ro' + 'ot', 'wo' + 'rk'].join('|')})/[\\w.]`),
  ],
  [
    'a package registry',
    new RegExp(['registry', 'npmjs'].join('\\.') + '|' + 'art' + 'ifactory', 'i'),
  ],
];

test.skipIf(!isCheckout).each(FOREIGN)('no tracked file names %s', (_, pattern) => {
  const found = trackedFiles().flatMap((path) => {
    let text: string;
    try {
      text = readFileSync(resolve(root, path), 'utf8');
    } catch {
      return []; // Deleted here, not yet in the index.
    }
    const match = pattern.exec(text);
    return match ? [`${path}: ${match[0]}`] : [];
  });
  expect(found).toEqual([]);
});
