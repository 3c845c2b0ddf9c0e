import {
  access,
  cp,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { acquireLock } from '../../src/base/file-lock.js';
import { homePaths, modelPaths, modelPathsAt, type HomePaths } from '../../src/base/paths.js';
import { absentPlace, locatedPaths, writeLocation } from '../../src/store/location.js';
import { readManifest } from '../../src/store/manifest.js';
import { moveModel, type MoveEvent, type MoveTask } from '../../src/store/move/move.js';
import { planRemoval, remove } from '../../src/store/removal.js';
import { testAddon } from '../repack/fixtures.js';
import { setUp } from '../installer/in-process.js';
import { hashesBelow } from '../installer/provisioned.js';
import { mountSmallVolume, type SmallVolume } from '../installer/small-volume.js';

const addon = testAddon();
let folder: string;
let volume: SmallVolume | null;
let home: HomePaths;
let hashes: Record<string, string>;
const quiet = new AbortController().signal;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fm-move-'));
  volume = mountSmallVolume(join(folder, 'volume'), 64 << 20);
  expect((await setUp(join(folder, 'template'))).error).toBeNull();
}, 60_000);
afterAll(async () => {
  volume?.unmount();
  await rm(folder, { recursive: true, force: true });
});
beforeEach(async () => {
  home = homePaths(await mkdtemp(join(folder, 'home-')));
  await cp(join(folder, 'template'), home.home, { recursive: true });
  hashes = await hashesBelow(modelPaths(home, 'tiny').root);
}, 60_000);
afterEach(async () => {
  if (volume === null) return;
  for (const name of await readdir(volume.path))
    await rm(join(volume.path, name), { recursive: true });
});

async function task(more: Partial<MoveTask> = {}): Promise<MoveTask> {
  const paths = await locatedPaths(home, 'tiny');
  const manifest = await readManifest(paths.manifest);
  if (manifest === null) throw new Error('no manifest');
  const emit = (): void => undefined;
  return {
    ...{ home, id: 'tiny', paths, manifest, addon, fileSystem: 'ext4', signal: quiet, emit },
    ...more,
  };
}

const own = (): string => modelPaths(home, 'tiny').root;

describe('moving a model', { timeout: 60_000 }, () => {
  it('on one volume copies nothing, and every command finds it by its pointer; then back', async () => {
    const target = join(folder, 'elsewhere');
    await mkdir(target, { recursive: true });
    const moved = await moveModel(target, await task());
    expect(moved).toMatchObject({ to: join(target, 'tiny'), copiedBytes: 0, foreign: [] });
    expect(await readdir(own())).toEqual(['location.json']);
    expect((await locatedPaths(home, 'tiny')).root).toBe(moved.to);
    expect(await hashesBelow(moved.to)).toEqual(hashes);
    // A setup finds it whole where it is.
    const again = await setUp(home.home);
    expect(again.error).toBeNull();
    expect(await readdir(own())).toEqual(['location.json']);

    const back = await moveModel(home.models, await task());
    expect(back.to).toBe(own());
    expect(await hashesBelow(own())).toEqual(hashes);
    expect(await readdir(own())).not.toContain('location.json');
    await expect(access(moved.to)).rejects.toThrow('ENOENT');
  });

  it('to another volume copies, reads back, and then removes the source', async () => {
    if (volume === null) return;
    const steps: string[] = [];
    const emit = (event: MoveEvent): void => {
      if (event.type === 'step') steps.push(event.step);
    };
    const moved = await moveModel(volume.path, await task({ emit }));
    expect(moved.copiedBytes).toBe(moved.bytes);
    expect(steps).toEqual(['copy', 'verify', 'remove']);
    expect(await hashesBelow(moved.to)).toEqual(hashes);
    expect(await readdir(own())).toEqual(['location.json']);
    expect((await stat(moved.to)).dev).not.toBe((await stat(own())).dev);
  });

  it('that was stopped in a file goes on with what was copied, and trusts none of it unread', async () => {
    if (volume === null) return;
    const abort = new AbortController();
    const emit = (event: MoveEvent): void => {
      if (event.type === 'progress' && event.item === 'model_weights.bin') abort.abort();
    };
    await expect(
      moveModel(volume.path, await task({ emit, signal: abort.signal })),
    ).rejects.toMatchObject({ code: 'ERR_INTERNAL' });
    expect(await hashesBelow(own())).toEqual(hashes);
    const there = join(volume.path, 'tiny');
    // One file arrived whole, and was spoilt since.
    const names = await readdir(there);
    expect(names).toContain('moving.json');
    const spoilt = await readFile(join(there, 'model_weights.bin')).catch(() => null);
    if (spoilt !== null) {
      spoilt[77] = (spoilt[77] ?? 0) ^ 1;
      await writeFile(join(there, 'model_weights.bin'), spoilt);
      await expect(moveModel(volume.path, await task())).rejects.toMatchObject({ code: 'ERR_IO' });
      expect(await hashesBelow(own())).toEqual(hashes);
    }
    const moved = await moveModel(volume.path, await task());
    expect(await hashesBelow(moved.to)).toEqual(hashes);
    expect(await readdir(moved.to)).not.toContain('moving.json');
  });

  it('that died behind the pointer has its source removed by the next one', async () => {
    const target = join(folder, 'late');
    await mkdir(target);
    const emit = (event: MoveEvent): void => {
      if (event.type !== 'step' || event.step !== 'remove') return;
      throw new Error('the process dies here');
    };
    await expect(moveModel(target, await task({ emit }))).rejects.toThrow('dies here');
    const marker = await readFile(join(target, 'tiny/moving.json'), 'utf8');
    expect(JSON.parse(marker)).toMatchObject({ from: own() });
    expect(await readdir(own())).toContain('manifest.json');
    await moveModel(target, await task());
    expect(await readdir(own())).toEqual(['location.json']);
    expect(await hashesBelow(join(target, 'tiny'))).toEqual(hashes);
  });

  it.each([
    [
      'a folder that is not there',
      () => Promise.resolve(join(folder, 'nowhere')),
      {},
      /is not there/,
    ],
    [
      'something else in the way',
      async () => {
        const place = await mkdtemp(join(folder, 'taken-'));
        await mkdir(join(place, 'tiny'));
        await writeFile(join(place, 'tiny/thesis.txt'), 'x');
        return place;
      },
      {},
      /is something else/,
    ],
    [
      'a link in the way',
      async () => {
        const place = await mkdtemp(join(folder, 'linked-'));
        await symlink(folder, join(place, 'tiny'));
        return place;
      },
      {},
      /is something else/,
    ],
    [
      'a file system that lacks what a model needs',
      () => mkdtemp(join(folder, 'exfat-')),
      { fileSystem: 'exfat' },
      /exfat, which has no journal, no permissions/,
    ],
  ])('refuses %s before anything is written', async (_, place, more, words) => {
    await expect(moveModel(await place(), await task(more))).rejects.toMatchObject({
      code: 'ERR_HOME',
      message: expect.stringMatching(words) as string,
    });
    expect(await hashesBelow(own())).toEqual(hashes);
  });

  it('refuses a volume that is too small, and a model that a setup works on', async () => {
    const lock = await acquireLock(join(own(), 'setup.lock'));
    await expect(moveModel(folder, await task())).rejects.toMatchObject({ code: 'ERR_LOCKED' });
    await lock.release();
    const little = mountSmallVolume(join(folder, 'little'), 1 << 20);
    if (little === null) return;
    await expect(moveModel(little.path, await task())).rejects.toMatchObject({
      code: 'ERR_DISK_FULL',
      message: expect.stringMatching(/too small: .* are missing; nothing was changed/) as string,
    });
    expect(await readdir(little.path)).toEqual([]);
    little.unmount();
  });

  it('refuses to carry damage, and leaves the source', async () => {
    if (volume === null) return;
    const path = join(own(), 'packed_experts/layer_01.bin');
    const bytes = await readFile(path);
    bytes[5] = (bytes[5] ?? 0) ^ 1;
    await writeFile(path, bytes);
    await expect(moveModel(volume.path, await task())).rejects.toMatchObject({
      code: 'ERR_MODEL_DAMAGED',
    });
    expect(await readdir(own())).toContain('manifest.json');
  });

  it('follows no pointer that names another model or no place at all', async () => {
    await writeLocation(home, 'tiny', '/somewhere/other');
    await expect(locatedPaths(home, 'tiny')).rejects.toMatchObject({ code: 'ERR_HOME' });
    await writeLocation(home, 'tiny', join(folder, '../tiny'));
    expect(await absentPlace(home, 'tiny')).toMatch(/tiny$/);
    await writeFile(join(own(), 'location.json'), 'x'.repeat(9000));
    await expect(locatedPaths(home, 'tiny')).rejects.toMatchObject({ code: 'ERR_HOME' });
  });

  it('removing never crosses into a volume that is mounted below a model', async () => {
    const inside = mountSmallVolume(join(own(), 'packed_experts_2bit'), 1 << 20);
    if (inside === null) return;
    try {
      await writeFile(join(inside.path, 'layer_00.bin'), 'precious');
      const { paths, manifest } = await task();
      const files = [
        ...manifest.files,
        { path: 'packed_experts_2bit/layer_00.bin', size: 8, sha256: '0'.repeat(64) },
      ];
      const removal = await planRemoval(paths, { ...manifest, files }, null);
      expect(removal.foreign).toEqual(['packed_experts_2bit']);
      await remove(removal, paths, quiet);
      expect(await readdir(inside.path)).toEqual(['layer_00.bin']);
      await expect(planRemoval(modelPathsAt(inside.path), null, null)).rejects.toMatchObject({
        code: 'ERR_HOME',
      });
    } finally {
      inside.unmount();
    }
  });
});
