import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { homePaths, modelPaths, type ModelPaths } from '../../src/base/paths.js';
import type { ModelManifest } from '../../src/store/manifest.js';
import { moveModel } from '../../src/store/move/move.js';
import { Presence, requireUnused } from '../../src/store/presence.js';
import { planRemoval, remove } from '../../src/store/removal.js';
import { start, type Program } from '../helpers/child.js';

const signal = new AbortController().signal;
const manifest = {
  files: [{ path: 'config.json', size: 4, sha256: '0'.repeat(64) }],
} as ModelManifest;
let folder: string;
let paths: ModelPaths;
let running: Program[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fm-presence-'));
  paths = modelPaths(homePaths(folder), 'tiny');
  await mkdir(paths.root, { recursive: true });
  await writeFile(join(paths.root, 'config.json'), 'data');
});
afterEach(async () => {
  for (const { process: child } of running) child.kill('SIGKILL');
  await Promise.all(running.map(({ ended }) => ended));
  running = [];
  await rm(folder, { recursive: true });
});

async function serve(root: string): Promise<Program> {
  const server = start(new URL('./programs/serving.ts', import.meta.url), [root]);
  running.push(server);
  await server.line();
  return server;
}

const removeAll = async () => remove(await planRemoval(paths, manifest, null), paths, signal);
const move = () =>
  moveModel(join(folder, 'elsewhere'), {
    ...{ home: homePaths(folder), id: 'tiny', paths, manifest, fileSystem: null, signal },
    ...{ addon: undefined as never, emit: () => undefined },
  });

describe('a model that a server has open', () => {
  test('is neither removed nor moved, and who has it is said; another model is', async () => {
    const server = await serve(paths.root);
    await mkdir(join(folder, 'elsewhere'));
    const refused = {
      code: 'ERR_LOCKED',
      message: expect.stringContaining(`(pid ${server.process.pid ?? 0}) is using`) as string,
    };
    await expect(removeAll()).rejects.toMatchObject(refused);
    await expect(move()).rejects.toMatchObject(refused);
    expect(await readdir(paths.root)).toContain('config.json');
    expect((await planRemoval(paths, manifest, null)).foreign).toEqual([]);

    const other = modelPaths(homePaths(folder), 'other');
    await mkdir(other.root);
    await writeFile(join(other.root, 'config.json'), 'data');
    expect(await remove(await planRemoval(other, manifest, null), other, signal)).toBe(4);
  });

  test('is free once the last of its servers has closed it', async () => {
    const [first, second] = [await serve(paths.root), await serve(paths.root)];
    first.process.stdin?.end();
    expect(await first.ended).toBe(0);
    await expect(requireUnused(paths)).rejects.toMatchObject({ code: 'ERR_LOCKED' });
    second.process.stdin?.end();
    expect(await second.ended).toBe(0);
    expect(await removeAll()).toBe(4);
    expect(await readdir(dirname(paths.root))).toEqual([]);
  });

  test('is free when its server was killed, and what that left is gone', async () => {
    const server = await serve(paths.root);
    server.process.kill('SIGKILL');
    await server.ended;
    expect(await readdir(paths.root)).toHaveLength(2);
    expect(await removeAll()).toBe(4);
    expect(await readdir(dirname(paths.root))).toEqual([]);
  });

  test('is held in one folder only by a server that opens it elsewhere', async () => {
    const presence = new Presence();
    await presence.enter(paths);
    const other = modelPaths(homePaths(folder), 'other');
    await mkdir(other.root);
    await presence.enter(other);
    await requireUnused(paths);
    await expect(requireUnused(other)).rejects.toMatchObject({ code: 'ERR_LOCKED' });
    await presence.leave();
    await requireUnused(other);
  });
});
