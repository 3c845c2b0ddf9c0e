import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { absentVolume, externalMount } from '../../src/base/mounts.js';

let root: string;
beforeEach(() => {
  root = realpathSync(mkdtempSync(join(tmpdir(), 'flashmoe-mounts-')));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

test.each([
  ['/Volumes/Big/models', '/Volumes/Big'],
  ['/Volumes/Big', '/Volumes/Big'],
  ['/media/ann/Big/flashmoe', '/media/ann/Big'],
  ['/run/media/ann/Big', '/run/media/ann/Big'],
  ['/mnt/big/x', '/mnt/big'],
  ['/Users/ann/Volumes/x', null],
  ['/media/ann', null],
  ['/Volumes', null],
])('%s needs the mount %s', (path, mount) => {
  expect(externalMount(path)).toBe(mount);
});

test('a plain folder lacks nothing, whether it is there or not', async () => {
  expect(await absentVolume(root)).toBeNull();
  expect(await absentVolume(join(root, 'not yet/models'))).toBeNull();
});

test('a volume that is not mounted is named, also behind a link', async () => {
  const gone = '/Volumes/flashmoe-test-that-is-nowhere';
  expect(await absentVolume(`${gone}/models`)).toBe(gone);
  symlinkSync(`${gone}/models`, join(root, 'models'));
  expect(await absentVolume(join(root, 'models'))).toBe(gone);
  expect(await absentVolume(join(root, 'models/tiny'))).toBe(gone);
});

test('a link that leads nowhere is waited for until its target appears', async () => {
  symlinkSync('target', join(root, 'models'));
  expect(await absentVolume(join(root, 'models'))).toBe(join(root, 'target'));
  mkdirSync(join(root, 'target'));
  expect(await absentVolume(join(root, 'models'))).toBeNull();
});

test('links that lead to one another end in an answer', async () => {
  symlinkSync('b', join(root, 'a'));
  symlinkSync('a', join(root, 'b'));
  expect(await absentVolume(join(root, 'a'))).not.toBeNull();
});
