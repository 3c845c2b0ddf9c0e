// A setup that weighs errors by a calibration: the same model by every road and through every interruption, the file
// a part of it from then on.

import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { homePaths, type ModelPaths } from '../../src/base/paths.js';
import { serveShared } from '../../src/hub/share-server.js';
import { startBundledHub } from '../../src/hub/bundled-hub.js';
import { HubClient } from '../../src/hub/client.js';
import { currentHost } from '../../src/base/host.js';
import { readManifest, type ModelManifest } from '../../src/store/manifest.js';
import { installationPaths } from '../../src/store/model-files.js';
import { planRemoval } from '../../src/store/removal.js';
import { checkModel } from '../../src/store/repair/check.js';
import { manifestAgain } from '../../src/store/repair/manifest-again.js';
import { planOfModel } from '../../src/installer/plan-again.js';
import { repairFiles } from '../../src/store/repair/repair.js';
import { sharedRepo } from '../../src/share/shared-repo.js';
import { readStoredPlan } from '../../src/store/stored-plan.js';
import { planText } from '../../src/ui/plan-view.js';
import { FaultHub } from '../helpers/hub/fault-hub.js';
import { ignoreRange } from '../helpers/hub/faults.js';
import { recordingTask, testSettings } from '../helpers/hub/settings.js';
import { testAddon } from '../repack/fixtures.js';
import { testCalibration } from './calibrations.js';
import { KilledSetup } from './cut-short.js';
import { only, setUp } from './in-process.js';
import { FIXTURE, flip, hashesBelow } from './provisioned.js';

const addon = testAddon();
let folder: string;
let file: string;
let other: string;
let hashes: Record<string, string>;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fm-weighed-'));
  file = join(folder, 'c.safetensors');
  other = join(folder, 'other.safetensors');
  await writeFile(file, await made(1), { mode: 0o444 });
  await writeFile(other, await made(2));
});
afterAll(() => rm(folder, { recursive: true }));

async function made(seed: number): Promise<Buffer> {
  return testCalibration(await plannedFixture(), seed);
}

async function plannedFixture() {
  const home = join(folder, 'plain');
  await setUp(home, { quant: '2bit' });
  const stored = await readStoredPlan(pathsAt(home).plan);
  if (stored === null) throw new Error('no plan');
  return stored;
}

const pathsAt = (home: string): ModelPaths => installationPaths(homePaths(home), 'tiny', '2bit');

async function manifestAt(paths: ModelPaths): Promise<ModelManifest> {
  const manifest = await readManifest(paths.manifest);
  if (manifest === null) throw new Error('no manifest');
  return manifest;
}

describe('a setup with a calibration', { timeout: 120_000 }, () => {
  it('makes other weights in as many bytes, keeps the file, and says so before and after', async () => {
    const home = join(folder, 'weighed');
    const { error, events, receipt } = await setUp(home, {
      quant: '2bit',
      request: { calibration: file },
    });
    expect(error, JSON.stringify(events.at(-1))).toBeNull();
    const paths = pathsAt(home);
    hashes = await hashesBelow(paths.root);
    const plain = await hashesBelow(pathsAt(join(folder, 'plain')).root);
    const changed = Object.keys(plain).filter((path) => plain[path] !== hashes[path]);
    expect(changed.filter((path) => path.endsWith('.bin')).length).toBeGreaterThan(1);
    expect(changed.some((path) => path.startsWith('model_weights'))).toBe(false);
    const kept = await readFile(join(paths.root, 'calibration.safetensors'));
    expect(kept.equals(await readFile(file))).toBe(true);
    // Not the mode of the user's file, which is for reading only.
    expect((await stat(join(paths.root, 'calibration.safetensors'))).mode & 0o777).toBe(0o644);

    const [shown] = only(events, 'plan');
    expect(shown && planText(shown.plan)).toMatch(/errors +weighed by what 1000 tokens/);
    const manifest = await manifestAt(paths);
    expect(manifest.finalBytes).toBe(shown?.plan.finalBytes);
    expect(receipt?.peakBytes).toBeLessThanOrEqual(shown?.plan.peakBytes ?? 0);
    expect(manifest.files.map(({ path }) => path)).toContain('calibration.safetensors');
    const removal = await planRemoval(paths, manifest, await readStoredPlan(paths.plan));
    expect(removal.foreign).toEqual([]);
  });

  it('makes the same bytes of whole shards', async () => {
    const hub = await FaultHub.start(FIXTURE, 'flashmoe/tiny');
    hub.rule({ on: 'cdn', fault: ignoreRange });
    const home = join(folder, 'whole');
    const { error } = await setUp(home, {
      quant: '2bit',
      request: { bundled: null, calibration: await calibrationOf(hub, home) },
      world: { hub: testSettings(hub.endpoint) },
    });
    await hub.close();
    expect(error).toBeNull();
    expectSameWeights(await hashesBelow(pathsAt(home).root));
  });

  it('makes the same bytes when it is killed in the middle, and goes on without being told the file again', async () => {
    const hub = await FaultHub.start(FIXTURE, 'flashmoe/tiny');
    const calibration = await calibrationOf(hub, join(folder, 'killed'));
    await hub.close();
    const killed = await KilledSetup.of(FIXTURE, join(folder, 'killed'), '2bit', { calibration });
    for (const bytes of [100_000, 400_000]) {
      expect((await killed.run(bytes)).finished).toBe(false);
    }
    delete killed.kept.calibration;
    expect((await killed.run(null)).finished).toBe(true);
    await killed.hub.close();
    expectSameWeights(await hashesBelow(killed.paths.root));
  });

  it('stays with the calibration it began with', async () => {
    const home = join(folder, 'weighed');
    const again = (calibration: string | null) =>
      setUp(home, { quant: '2bit', request: { calibration } });
    expect((await again(other)).error).toMatchObject({
      code: 'ERR_JOURNAL',
      subject: '--calibration',
    });
    expect((await again(file)).error).toBeNull();
    expect((await again(null)).error).toBeNull();
    const plain = await setUp(join(folder, 'plain'), {
      quant: '2bit',
      request: { calibration: file },
    });
    expect(plain.error).toMatchObject({ code: 'ERR_JOURNAL' });
    expect(await hashesBelow(pathsAt(home).root)).toEqual(hashes);
  });

  it('refuses the calibration of another repository, and one that changes under its hands', async () => {
    const bytes = await readFile(file);
    const foreign = join(folder, 'foreign.safetensors');
    await writeFile(
      foreign,
      Buffer.from(bytes.toString('latin1').replace('flashmoe/tiny', 'flashmoe/huge'), 'latin1'),
    );
    const refused = await setUp(join(folder, 'foreign'), {
      quant: '2bit',
      request: { calibration: foreign },
    });
    expect(refused.error).toMatchObject({
      code: 'ERR_USAGE',
      message: 'the calibration is of flashmoe/huge, not of flashmoe/tiny',
    });
    const moving = join(folder, 'moving.safetensors');
    await writeFile(moving, bytes);
    let isPlanned = false;
    const changed = await setUp(join(folder, 'moving'), {
      quant: '2bit',
      request: { calibration: moving },
      onEvent: (event) => {
        isPlanned ||= event.type === 'plan';
        if (event.type === 'step' && event.step === 'engine' && event.status === 'started') {
          void writeFile(moving, Buffer.concat([bytes.subarray(0, -1), Buffer.from([7])]));
        }
      },
    });
    expect(isPlanned).toBe(true);
    expect(changed.error).toMatchObject({ code: 'ERR_HASH', subject: '--calibration' });
  });
});

describe('a model with a calibration', { timeout: 120_000 }, () => {
  it('has a flipped byte of its experts mended, and its lost records made again', async () => {
    const paths = pathsAt(join(folder, 'weighed'));
    const manifest = await manifestAt(paths);
    const server = await startBundledHub(FIXTURE, 'flashmoe/tiny');
    const client = new HubClient(testSettings(server.endpoint));
    const layer = manifest.files.find(({ path }) => path.endsWith('layer_03.bin'))?.path ?? '';
    try {
      await flip(join(paths.root, layer), 20_000);
      await rm(paths.plan);
      const task = recordingTask();
      const stored = await planOfModel(paths, manifest, client, task);
      expect(stored.pack.fingerprint).toBe(manifest.fingerprint);
      const all = { ...task, paths, manifest, stored, addon, client, threads: 2 };
      const damaged = await damagedFiles(paths, manifest);
      expect(damaged.map(({ path }) => path)).toEqual([layer]);
      await repairFiles(damaged, all);
      expect(await damagedFiles(paths, manifest)).toEqual([]);
      const { check, ...whole } = { ...manifest, receipt: null };
      // Nobody has judged what was made again.
      expect(check?.verdict).toBe('passed');
      expect({ ...(await manifestAgain(paths)), receipt: null }).toEqual(whole);

      const own = join(paths.root, 'calibration.safetensors');
      await flip(own, 3_000);
      await expect(repairFiles(await damagedFiles(paths, manifest), all)).rejects.toMatchObject({
        code: 'ERR_HASH',
        message: expect.stringMatching(
          /calibration\.safetensors is damaged, and the hub has none/,
        ) as string,
      });
      await rm(own);
      expect((await setUp(join(folder, 'weighed'), { quant: '2bit' })).error).toMatchObject({
        code: 'ERR_USAGE',
        hint: 'name it once more with --calibration',
      });
      const request = { calibration: file };
      expect((await setUp(join(folder, 'weighed'), { quant: '2bit', request })).error).toBeNull();
      expect(await damagedFiles(paths, await manifestAt(paths))).toEqual([]);
    } finally {
      client.close();
      await server.close();
    }
  });

  it('is copied whole from a machine that shares it', async () => {
    const paths = pathsAt(join(folder, 'weighed'));
    const repo = await sharedRepo('tiny-2bit', paths, await manifestAt(paths));
    const shared = await serveShared(repo, { host: '127.0.0.1', port: 0, key: null });
    const home = join(folder, 'copied');
    const { error, events } = await setUp(home, {
      quant: '2bit',
      request: { share: { url: shared.origin, key: null } },
    });
    await shared.close();
    expect(error, JSON.stringify(events.at(-1))).toBeNull();
    expect(await hashesBelow(pathsAt(home).root)).toEqual(await hashesBelow(paths.root));
  });
});

async function damagedFiles(paths: ModelPaths, manifest: ModelManifest) {
  const { files } = await checkModel(paths, manifest, { addon });
  return files.filter(({ problem }) => problem !== null);
}

/** Of the hub's own commit: the file's, with another commit in its header. */
async function calibrationOf(hub: FaultHub, home: string): Promise<string> {
  const client = new HubClient({
    ...testSettings(hub.endpoint),
    userAgent: currentHost().nodeVersion,
  });
  const commit = await client.resolveCommit('flashmoe/tiny', 'main', recordingTask());
  client.close();
  const bytes = await readFile(file);
  const text = bytes.toString('latin1').replace(/"commit":"[0-9a-f]{40}"/, `"commit":"${commit}"`);
  const path = `${home}.safetensors`;
  await writeFile(path, Buffer.from(text, 'latin1'));
  return path;
}

function expectSameWeights(of: Record<string, string>): void {
  const weights = (all: Record<string, string>) =>
    Object.fromEntries(Object.entries(all).filter(([path]) => path.endsWith('.bin')));
  expect(weights(of)).toEqual(weights(hashes));
}
