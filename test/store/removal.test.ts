import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { acquireLock } from '../../src/base/file-lock.js';
import { homePaths, modelPaths, type ModelPaths } from '../../src/base/paths.js';
import type { ModelManifest } from '../../src/store/manifest.js';
import { mountSmallVolume } from '../installer/small-volume.js';
import { planRemoval, remove } from '../../src/store/removal.js';

let folder = '';
let paths: ModelPaths;
const signal = new AbortController().signal;
const manifest = {
  files: ['config.json', 'model_weights.bin', 'packed_experts/layer_00.bin'].map((path) => ({
    path,
    size: 4,
    sha256: '0'.repeat(64),
  })),
} as ModelManifest;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'flashmoe-removal-'));
  paths = modelPaths(homePaths(folder), 'tiny');
  for (const { path } of manifest.files) await put(path);
  await put('manifest.json');
  await put('journal.ndjson');
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function put(path: string): Promise<void> {
  await mkdir(dirname(join(paths.root, path)), { recursive: true });
  await writeFile(join(paths.root, path), 'data');
}

async function removeAll(): Promise<number> {
  return remove(await planRemoval(paths, manifest, null), paths, signal);
}

describe('removing a model', () => {
  test('takes every file of the manifest and the records, then the empty folders', async () => {
    expect(await removeAll()).toBe(20);
    expect(await readdir(dirname(paths.root))).toEqual([]);
  });

  test('leaves what it did not make, and says so', async () => {
    await put('packed_experts/notes.txt');
    const removal = await planRemoval(paths, manifest, null);
    expect(removal.foreign).toEqual(['packed_experts/notes.txt']);
    await remove(removal, paths, signal);
    expect(await readdir(paths.root, { recursive: true })).toEqual([
      'packed_experts',
      'packed_experts/notes.txt',
    ]);
  });

  test('never follows a symbolic link, neither inside nor at the folder itself', async () => {
    const elsewhere = join(folder, 'elsewhere');
    await mkdir(elsewhere);
    await writeFile(join(elsewhere, 'layer_01.bin'), 'precious');
    await symlink(elsewhere, join(paths.root, 'packed_experts_2bit'));
    await rm(join(paths.root, 'config.json'));
    await symlink(join(elsewhere, 'layer_01.bin'), join(paths.root, 'config.json'));
    const removal = await planRemoval(paths, manifest, null);
    expect(removal.foreign.sort()).toEqual(['config.json', 'packed_experts_2bit']);
    await remove(removal, paths, signal);
    expect(await readdir(elsewhere)).toEqual(['layer_01.bin']);

    const linked = modelPaths(homePaths(folder), 'linked');
    await symlink(elsewhere, linked.root);
    await expect(planRemoval(linked, manifest, null)).rejects.toMatchObject({ code: 'ERR_HOME' });
  });

  test('takes partial files of names that are ours, and no others', async () => {
    await put('packed_experts/.layer_00.bin.0123456789ab.partial');
    await put('model_weights.bin.partial');
    await put('thesis.partial');
    const removal = await planRemoval(paths, manifest, null);
    expect(removal.foreign).toEqual(['thesis.partial']);
  });

  test('takes scratch below download/, and nothing else that lies there', async () => {
    for (const name of ['spool', 'spool.mark', 'params-3-0-scales', 'CACHEDIR.TAG']) {
      await put(`download/${name}`);
    }
    for (const name of ['notes.txt', 'spool.txt', 'more/spool']) await put(`download/${name}`);
    const removal = await planRemoval(paths, manifest, null);
    expect(removal.foreign.sort()).toEqual([
      'download/more/spool',
      'download/notes.txt',
      'download/spool.txt',
    ]);
    expect(await remove(removal, paths, signal)).toBe(36);
    expect((await readdir(paths.download)).sort()).toEqual(['more', 'notes.txt', 'spool.txt']);
  });

  test('leaves a volume alone that is mounted at the folder, or inside it', async ({ skip }) => {
    const within = mountSmallVolume(join(paths.root, 'packed_experts'), 1 << 20);
    skip(within === null, 'no volume can be mounted here');
    await put('packed_experts/layer_00.bin');
    expect((await planRemoval(paths, manifest, null)).foreign).toEqual(['packed_experts']);
    within?.unmount();
    const mounted = modelPaths(homePaths(folder), 'mounted');
    const at = mountSmallVolume(mounted.root, 1 << 20);
    await writeFile(join(mounted.root, 'config.json'), 'data');
    await expect(planRemoval(mounted, manifest, null)).rejects.toMatchObject({ code: 'ERR_HOME' });
    expect(await readdir(mounted.root)).toEqual(['config.json']);
    at?.unmount();
  });

  test('waits for nobody: a setup at work keeps its files', async () => {
    const lock = await acquireLock(paths.lock);
    await expect(removeAll()).rejects.toMatchObject({ code: 'ERR_LOCKED' });
    await lock.release();
    expect(await readdir(paths.root)).toContain('manifest.json');
    expect(await removeAll()).toBe(20);
  });

  test('an absent folder is nothing to remove', async () => {
    const absent = modelPaths(homePaths(folder), 'absent');
    expect(await planRemoval(absent, null, null)).toMatchObject({ files: [], bytes: 0 });
  });
});
