// A finished model whose repository moves on: real hubs on loopback, the real setup, the real engine. The repository is the bundled
// model's, whose answers are judged.

import { cp, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { loadAddon } from '../../src/addon/load.js';
import { acquireLock } from '../../src/base/file-lock.js';
import { currentHost } from '../../src/base/host.js';
import { packageRoot } from '../../src/base/package-root.js';
import { homePaths, modelPaths, modelPathsAt } from '../../src/base/paths.js';
import { openEngine } from '../../src/engine/open-engine.js';
import { planUpdate, runUpdate, type UpdateTask } from '../../src/installer/update.js';
import { Controls } from '../../src/jobs/controls.js';
import { readManifest } from '../../src/store/manifest.js';
import { Presence, requireUnused } from '../../src/store/presence.js';
import { finishTakingPlace, takePlace, updatePaths } from '../../src/store/update-place.js';
import { FaultHub } from '../helpers/hub/fault-hub.js';
import { endAfter } from '../helpers/hub/faults.js';
import { testSettings } from '../helpers/hub/settings.js';
import { setUp } from './in-process.js';
import { changeLastByte } from './provisioned.js';

vi.setConfig({ testTimeout: 120_000 });

const REPO = 'acme/tiny';
const SHARDS = [1, 2, 3].map((i) => `model-0000${i}-of-00003.safetensors`);
let folder = '';
let made = '';
const hubs: FaultHub[] = [];

/** A hub with the bundled model, edited. */
async function hubOf(edit: (at: string) => Promise<void>): Promise<FaultHub> {
  const at = await mkdtemp(join(folder, 'repo-'));
  await cp(join(packageRoot, 'models', 'tiny'), at, { recursive: true });
  await edit(at);
  const hub = await FaultHub.start(at, REPO);
  hubs.push(hub);
  return hub;
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fm-update-'));
  made = join(folder, 'made');
  const hub = await hubOf(() => Promise.resolve());
  const { error } = await setUp(made, {
    request: { repo: REPO, bundled: null, model: 'acme--tiny', questions: [] },
    world: { hub: testSettings(hub.endpoint) },
  });
  if (error !== null) throw error;
}, 120_000);
afterAll(() => rm(folder, { recursive: true }));

let home = '';
beforeEach(async () => {
  home = join(await mkdtemp(join(folder, 'home-')), 'home');
  await cp(made, home, { recursive: true });
});
afterEach(async () => {
  await Promise.all(hubs.splice(0).map((hub) => hub.close()));
});

const paths = () => modelPaths(homePaths(home), 'acme--tiny');

async function taskFor(hub: FaultHub): Promise<UpdateTask> {
  const manifest = await readManifest(paths().manifest);
  if (manifest === null) throw new Error('the model is not there');
  return {
    addon: loadAddon([join(packageRoot, 'build/Release/flashmoe.node')]).addon,
    ...{ paths: paths(), manifest, resumeCommand: 'flashmoe update acme--tiny' },
    context: {
      ...{ home: homePaths(home), host: currentHost(), hub: testSettings(hub.endpoint) },
      ...{ openEngine, installService: null, pollMs: 20 },
    },
  };
}

const quiet = { emit: () => undefined, signal: new AbortController().signal };

async function updateFrom(hub: FaultHub) {
  const task = await taskFor(hub);
  const planned = await planUpdate(task, quiet);
  if (planned === null) throw new Error('nothing moved');
  hub.log.length = 0;
  const receipt = await runUpdate(task, planned, { ...quiet, controls: new Controls() });
  return { planned, receipt };
}

const fetched = (hub: FaultHub): string[] => [
  ...new Set(
    hub.log
      .filter(({ side, path, range }) => side === 'cdn' || (/\/resolve\//.test(path) && range))
      .map(({ path }) => path.slice(path.lastIndexOf('/') + 1)),
  ),
];

const changedTemplate = (at: string): Promise<void> =>
  readFile(join(at, 'chat_template.jinja'), 'utf8').then((text) =>
    writeFile(join(at, 'chat_template.jinja'), `{# of the next commit #}${text}`),
  );

test('a revision that did not move has nothing to update', async () => {
  const hub = await hubOf(() => Promise.resolve());
  expect(await planUpdate(await taskFor(hub), quiet)).toBeNull();
});

test('a file that no model is made from changes nothing', async () => {
  const hub = await hubOf((at) => writeFile(join(at, 'README.md'), 'other words'));
  const { changes } = (await planUpdate(await taskFor(hub), quiet)) ?? {};
  expect([changes?.changed, changes?.added, changes?.gone]).toEqual([[], [], []]);
});

test('a changed template is fetched alone; the weights stay where they are on the disk', async () => {
  const hub = await hubOf(changedTemplate);
  const before = await stat(paths().denseFile);
  const { planned, receipt } = await updateFrom(hub);
  expect(planned.changes.changed).toEqual(['chat_template.jinja']);
  const size = planned.stored.sideFiles.find(({ path }) => path === 'chat_template.jinja')?.size;
  expect(planned.summary.downloadBytes - planned.summary.doneBytes).toBe(size);
  expect(receipt.downloadedBytes).toBe(size);
  expect(receipt.directory).toBe(paths().root);
  expect(hub.log.filter(({ side }) => side === 'cdn')).toEqual([]);
  expect((await stat(paths().denseFile)).ino).toBe(before.ino);
  const manifest = await readManifest(paths().manifest);
  expect(manifest?.commit).toBe(hub.commit);
  expect(manifest?.receipt?.commit).toBe(hub.commit);
  expect(manifest?.check?.verdict).not.toBe('failed');
  expect(await readFile(join(paths().root, 'chat_template.jinja'), 'utf8')).toMatch(/^\{# of the/);
  expect(await readdir(join(home, 'models'))).toEqual(['acme--tiny']);
  const { error } = await setUp(home, {
    request: { repo: REPO, bundled: null, model: 'acme--tiny', questions: [] },
    world: { hub: testSettings(hub.endpoint) },
  });
  expect(error).toBeNull();
});

test('a changed shard is fetched with what shares a layer with it, and makes what a setup of that commit makes', async () => {
  const hub = await hubOf(changeLastByte);
  const { planned, receipt } = await updateFrom(hub);
  const shards = fetched(hub).filter((name) => name.endsWith('.safetensors'));
  expect(planned.changes.denseShards).toEqual(SHARDS.slice(0, 2));
  expect(planned.changes.layers).not.toEqual([]);
  expect(shards).not.toContain(SHARDS[0]);
  const { downloadBytes, doneBytes } = planned.summary;
  // Headers were read for the plan.
  expect(receipt.downloadedBytes).toBe(downloadBytes - doneBytes);
  const whole = join(folder, `whole-${hub.commit}`);
  await setUp(whole, {
    request: { repo: REPO, bundled: null, model: 'acme--tiny', questions: [] },
    world: { hub: testSettings(hub.endpoint) },
  });
  const alone = await readManifest(modelPaths(homePaths(whole), 'acme--tiny').manifest);
  expect((await readManifest(paths().manifest))?.files).toEqual(alone?.files);
});

test('the old one stays whole and answers while the new one cannot be fetched, and then it goes on', async () => {
  const hub = await hubOf(async (at) => {
    await changedTemplate(at);
    await changeLastByte(at);
  });
  const old = await readManifest(paths().manifest);
  const [abort, task] = [new AbortController(), await taskFor(hub)];
  const planned = await planUpdate(task, quiet);
  if (planned === null) throw new Error('nothing moved');
  hub.rule({ on: 'cdn', fault: endAfter(1000) });
  const run = runUpdate(task, planned, {
    signal: abort.signal,
    controls: new Controls(),
    emit: (event) => {
      if (event.type === 'retry') abort.abort();
    },
  });
  await expect(run).rejects.toMatchObject({
    code: 'ERR_INTERRUPTED',
    hint: 'run `flashmoe update acme--tiny` to go on',
  });
  expect(await readManifest(paths().manifest)).toEqual(old);
  expect(await readFile(join(paths().root, 'chat_template.jinja'), 'utf8')).not.toMatch(/^\{# of/);
  expect(await readdir(join(home, 'models'))).toContain('.acme--tiny.update');
  hub.reset();
  await updateFrom(hub);
  expect((await readManifest(paths().manifest))?.commit).toBe(hub.commit);
});

test('files of the user and the lock of a server that answers move along', async () => {
  const hub = await hubOf(changedTemplate);
  await writeFile(join(paths().root, 'notes.txt'), 'mine');
  const presence = new Presence();
  await presence.enter(paths());
  await updateFrom(hub);
  expect(await readFile(join(paths().root, 'notes.txt'), 'utf8')).toBe('mine');
  await expect(requireUnused(paths())).rejects.toMatchObject({ code: 'ERR_LOCKED' });
  await presence.leave();
  await requireUnused(paths());
  expect(await readdir(join(home, 'models'))).toEqual(['acme--tiny']);
});

test('a change of place that was cut off is finished by the next run', async () => {
  const fresh = updatePaths(paths());
  await cp(paths().root, fresh.root, { recursive: true });
  await writeFile(join(fresh.root, 'marked'), '');
  const earlier = modelPathsAt(join(home, 'models', '.acme--tiny.before'));
  await cp(paths().root, earlier.root, { recursive: true });
  await rm(paths().root, { recursive: true });
  await finishTakingPlace(paths());
  expect(await readdir(paths().root)).toContain('marked');
  expect(await readdir(join(home, 'models'))).toEqual(['acme--tiny']);
});

test('the place is not taken while a setup is at work in it', async () => {
  await cp(paths().root, updatePaths(paths()).root, { recursive: true });
  const lock = await acquireLock(paths().lock);
  await expect(takePlace(paths())).rejects.toMatchObject({ code: 'ERR_LOCKED' });
  await lock.release();
  expect(await readManifest(paths().manifest)).not.toBeNull();
});
