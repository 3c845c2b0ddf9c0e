import { mkdtemp, readFile, rm, stat, truncate, unlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { homePaths, type ModelPaths } from '../../src/base/paths.js';
import { HubClient } from '../../src/hub/client.js';
import { recordDamage } from '../../src/store/damage.js';
import type { Quant } from '../../src/models/quant.js';
import { readManifest, writeManifest, type ModelManifest } from '../../src/store/manifest.js';
import { installationPaths, layerPath } from '../../src/store/model-files.js';
import { makeBlock } from '../../src/store/repair/block.js';
import { checkModel } from '../../src/store/repair/check.js';
import { manifestAgain } from '../../src/store/repair/manifest-again.js';
import { planOfModel } from '../../src/installer/plan-again.js';
import { repairFiles, type RepairedFile } from '../../src/store/repair/repair.js';
import { listingOf, readStoredPlan } from '../../src/store/stored-plan.js';
import { densePieces, layerPieces } from '../../src/repack/blocks.js';
import { FaultHub } from '../helpers/hub/fault-hub.js';
import { flipByte } from '../helpers/hub/faults.js';
import { QUICK_RETRY, recordingTask, testSettings } from '../helpers/hub/settings.js';
import { testAddon } from '../repack/fixtures.js';
import { setUp } from '../installer/in-process.js';
import { makeLargeRepo } from '../installer/large-repo.js';
import { FIXTURE, flip, hashesBelow } from '../installer/provisioned.js';

const addon = testAddon();
const BLOCK = 16 << 20;

interface Provisioned {
  hub: FaultHub;
  client: HubClient;
  paths: ModelPaths;
  manifest: ModelManifest;
  hashes: Record<string, string>;
}

let folder: string;
let largeRepo: string;
const open_: Provisioned[] = [];
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fm-repair-'));
  largeRepo = join(folder, 'repo');
  await makeLargeRepo(largeRepo);
}, 60_000);
afterAll(async () => {
  for (const { client, hub } of open_) {
    client.close();
    await hub.close();
  }
  await rm(folder, { recursive: true });
});

async function provisioned(name: string, repo: string, quant: Quant): Promise<Provisioned> {
  const hub = await FaultHub.start(repo, 'flashmoe/tiny');
  const home = join(folder, name);
  const hubSettings = testSettings(hub.endpoint);
  // What a model of random weights answers is no matter here: its files are whole before it is asked.
  await setUp(home, {
    quant,
    request: { bundled: null, questions: [] },
    world: { hub: hubSettings },
  });
  const paths = installationPaths(homePaths(home), 'tiny', quant);
  const manifest = await readManifest(paths.manifest);
  if (manifest === null) throw new Error('the model was not provisioned');
  const retries = { metadataRetry: QUICK_RETRY, downloadRetry: QUICK_RETRY };
  const client = new HubClient(hubSettings, retries);
  const made = { hub, client, paths, manifest, hashes: await hashesBelow(paths.root) };
  open_.push(made);
  return made;
}

/** As `verify --repair`: check, note, repair. */
async function repair({ paths, client }: Provisioned, manifest: ModelManifest) {
  const damaged = (await checkModel(paths, manifest, { addon })).files.filter((f) => f.problem);
  await recordDamage(
    paths,
    damaged.map(({ path }) => path),
  );
  const task = recordingTask();
  const stored = await planOfModel(paths, manifest, client, task);
  const all = { ...task, paths, manifest, stored, addon, client, threads: 2 };
  return { damaged, repaired: await repairFiles(damaged, all) };
}

async function expectWhole({ paths, manifest, hashes }: Provisioned): Promise<void> {
  const { files } = await checkModel(paths, manifest, { addon });
  expect(files.filter(({ problem }) => problem !== null)).toEqual([]);
  expect(await hashesBelow(paths.root)).toEqual(hashes);
}

describe.each(['4bit', '2bit'] as const)('a model at %s', { timeout: 120_000 }, (quant) => {
  let model: Provisioned;
  beforeAll(async () => {
    model = await provisioned(`large-${quant}`, largeRepo, quant);
  }, 120_000);
  beforeEach(() => model.hub.reset());

  it('with one flipped byte names file and block, and fetches the sources of that block only', async () => {
    const path = model.manifest.files.find(({ path: p }) => p.endsWith('layer_00.bin'))?.path ?? '';
    const { size } = await stat(join(model.paths.root, path));
    expect(size).toBeGreaterThan(BLOCK);
    await flip(join(model.paths.root, path), BLOCK + 12_345);
    const { damaged, repaired } = await repair(model, model.manifest);
    expect(damaged).toMatchObject([
      { path, blocks: [1], problem: expect.stringMatching(/block 1 of \d, .* 16 MiB/) as string },
    ]);
    expect(repaired).toMatchObject([{ path, blocks: [1] }]);
    await expectWhole(model);
    const sources = (await readStoredPlan(model.paths.plan))?.pack.shards ?? [];
    const all = sources.reduce((sum, shard) => sum + shard.size, 0);
    const length = size - BLOCK;
    // 4 bits: byte for byte. 2 bits: codes of twice the width, and whole projections at both ends.
    const expected = quant === '4bit' ? length : (length * 7077888) / 3932160 + 2 * 3 * 147_456;
    expect(repaired[0]?.fetchedBytes).toBeLessThanOrEqual(expected);
    expect(repaired[0]?.fetchedBytes).toBeLessThan(all / 2);
    const sent = model.hub.log
      .filter(({ side, path: p }) => side === 'cdn' && p.length > 0)
      .reduce((sum, one) => sum + one.sent, 0);
    expect(sent).toBe(repaired[0]?.fetchedBytes);
  });

  it('is repaired in every kind of file that it has, and then is what it was', async () => {
    const { paths, manifest } = model;
    for (const { path, size } of manifest.files) await flip(join(paths.root, path), size >> 1);
    const { damaged, repaired } = await repair(model, manifest);
    expect(damaged.map(({ path }) => path)).toEqual(manifest.files.map(({ path }) => path));
    expect(repaired.map(({ path }) => path).sort()).toEqual(manifest.files.map(({ path }) => path));
    await expectWhole(model);
  });

  it('gets back a file that is missing and one that was cut short', async () => {
    const { paths } = model;
    const [layer, dense] = [join(paths.experts(quant), 'layer_00.bin'), paths.denseFile];
    await unlink(layer);
    await truncate(dense, 1000);
    await repair(model, model.manifest);
    await expectWhole(model);
  });
});

describe('a model', { timeout: 120_000 }, () => {
  let model: Provisioned;
  beforeAll(async () => {
    model = await provisioned('small', FIXTURE, '2bit');
  }, 60_000);

  it('can be made anew from its sources between any two bytes', async () => {
    const { paths, client, manifest } = model;
    const stored = await planOfModel(paths, manifest, client, recordingTask());
    const { pack } = stored;
    const task = {
      ...{ ...recordingTask(), client, listing: listingOf(stored), addon, threads: 1 },
      ...{ scratch: join(folder, 'scratch'), calibration: '' },
    };
    const layer = pack.layers[3];
    if (layer === undefined) throw new Error('the fixture has eight layers');
    const files = [
      {
        path: layerPath(paths, pack.quant, layer),
        pieces: (from: number, to: number) => layerPieces(pack, layer, from, to),
      },
      {
        path: pack.dense.file,
        pieces: (from: number, to: number) => densePieces(pack, from, to),
      },
    ];
    for (const { path, pieces } of files) {
      const whole = await readFile(join(paths.root, path));
      const cuts = [0, 1, 63, 4097, 16_383, 16_384, 40_001, whole.length - 1, whole.length];
      for (const [index, from] of cuts.entries()) {
        const to = cuts[index + 1] ?? from;
        if (from >= to) continue;
        const { bytes } = await makeBlock(pieces(from, to), from, to, task);
        expect(bytes.equals(whole.subarray(from, to)), `${path} ${from} to ${to}`).toBe(true);
      }
    }
  });

  it('is given blocks that came wrong once more, and says so when they are wrong twice', async () => {
    const layer = join(model.paths.experts('2bit'), 'layer_00.bin');
    await flip(layer, 100);
    model.hub.rule({ on: 'cdn', times: 1, fault: flipByte(11) });
    const { repaired } = await repair(model, model.manifest);
    expect(repaired).toMatchObject([{ blocks: [0] }]);
    await expectWhole(model);

    await flip(layer, 100);
    model.hub.rule({ on: 'cdn', fault: flipByte(11) });
    await expect(repair(model, model.manifest)).rejects.toMatchObject({
      code: 'ERR_HASH',
      message: expect.stringMatching(/made anew twice .* block 0 /) as string,
    });
    const { files } = await checkModel(model.paths, model.manifest, { addon });
    expect(files.filter(({ problem }) => problem).map(({ blocks }) => blocks)).toEqual([[0]]);
    model.hub.reset();
    await repair(model, model.manifest);
    await expectWhole(model);
  });

  it('of an older version gets block hashes once all its files were right', async () => {
    const { paths, manifest } = model;
    const text = await readFile(paths.blocks);
    const files = manifest.files.filter(({ path }) => path !== 'blocks.json');
    const old = { ...manifest, files, finalBytes: manifest.finalBytes - text.length };
    await unlink(paths.blocks);
    await writeManifest(paths.manifest, old);
    await flip(join(paths.root, 'tokenizer.json'), 5);
    expect((await checkModel(paths, old, { addon })).blocksAdded).toBe(false);
    await repair(model, old);
    expect((await checkModel(paths, old, { addon })).blocksAdded).toBe(true);
    expect(await readManifest(paths.manifest)).toEqual(manifest);
    expect((await readFile(paths.blocks)).equals(text)).toBe(true);
  });

  it('whose manifest is no JSON any more has it again from journal and plan', async () => {
    const { paths, manifest } = model;
    await writeFile(paths.manifest, '{');
    const again = await manifestAgain(paths);
    // Nobody has judged the answers of what this manifest says.
    const { check, ...told } = manifest;
    expect(check).toBeDefined();
    expect({ ...again, receipt: manifest.receipt }).toEqual(told);
    await writeManifest(paths.manifest, manifest);
  });

  it('whose plan is lost is planned again from the same commit', async () => {
    const { paths, manifest, client } = model;
    const text = await readFile(paths.plan, 'utf8');
    await unlink(paths.plan);
    await planOfModel(paths, manifest, client, recordingTask());
    expect(await readFile(paths.plan, 'utf8')).toBe(text);
  });

  it('that is repaired is whole for the next setup, too', async () => {
    const { paths, hub } = model;
    await flip(join(paths.root, 'packed_experts_2bit/layer_02.bin'), 99);
    const { repaired }: { repaired: RepairedFile[] } = await repair(model, model.manifest);
    expect(repaired).toHaveLength(1);
    hub.reset();
    const home = join(folder, 'small');
    const world = { hub: testSettings(hub.endpoint) };
    const { error } = await setUp(home, {
      quant: '2bit',
      request: { bundled: null },
      world,
    });
    expect(error).toBeNull();
    expect(hub.ranges('cdn')).toEqual([]);
  });
});
