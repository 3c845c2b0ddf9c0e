import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { homePaths, modelPaths } from '../../src/base/paths.js';
import { bytesBelow } from '../../src/store/disk-usage.js';
import { locatedPaths } from '../../src/store/location.js';
import { readManifest } from '../../src/store/manifest.js';
import { sourceFolder } from '../../src/store/model-files.js';
import { moveModel, type MoveEvent } from '../../src/store/move/move.js';
import { planRemoval, remove } from '../../src/store/removal.js';
import { readStoredPlan } from '../../src/store/stored-plan.js';
import { planText } from '../../src/ui/plan-view.js';
import { testAddon } from '../repack/fixtures.js';
import { KilledSetup } from '../installer/cut-short.js';
import { only, setUp } from '../installer/in-process.js';
import { makeLargeRepo } from '../installer/large-repo.js';
import { FIXTURE, hashesBelow } from '../installer/provisioned.js';
import { mountSmallVolume } from '../installer/small-volume.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fm-source-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const quiet = new AbortController().signal;

/** What the hub has of a checkpoint that a setup keeps. */
const KEPT =
  /\.safetensors$|\.index\.json$|^(tokenizer|config|generation_config|tokenizer_config)\.json$|\.jinja$/;

async function expectSame(kept: string, repo: string): Promise<void> {
  const [{ '.kept': mark, ...there }, published] = [
    await hashesBelow(kept),
    await hashesBelow(repo),
  ];
  expect(mark).toBeDefined();
  expect(Object.keys(there).length).toBeGreaterThan(3);
  for (const [path, hash] of Object.entries(there)) expect(published[path], path).toBe(hash);
  const names = (await readdir(repo)).filter(
    (name) => KEPT.test(name) && name !== 'golden.safetensors',
  );
  expect(Object.keys(there).sort()).toEqual(names.sort());
}

/** Hashes of the shards that a killed setup has kept whole so far. */
async function wholeShards({ paths }: KilledSetup): Promise<string[]> {
  const stored = await readStoredPlan(paths.plan);
  const names = await readdir(sourceFolder(paths)).catch((): string[] => []);
  return (stored?.pack.shards ?? [])
    .filter(({ path }) => names.includes(path))
    .map(({ sha256 }) => sha256);
}

describe('a setup that keeps the source', { timeout: 120_000 }, () => {
  it('leaves the checkpoint as the hub has it, within the peak it promised, and makes the same model', async () => {
    const home = join(folder, 'kept');
    const { error, events, receipt } = await setUp(home, { request: { keepSource: true } });
    expect(error).toBeNull();
    const paths = modelPaths(homePaths(home), 'tiny');
    await expectSame(sourceFolder(paths), FIXTURE);
    const [shown] = only(events, 'plan');
    expect(receipt?.peakBytes).toBeLessThanOrEqual(shown?.plan.peakBytes ?? 0);
    const kept = await bytesBelow(sourceFolder(paths));
    expect(shown?.plan.sourceBytes).toBeGreaterThanOrEqual(kept);
    expect(shown && planText(shown.plan)).toMatch(/of that, source +at most .*kept in source\//);

    const alone = join(folder, 'alone');
    expect((await setUp(alone)).error).toBeNull();
    const made = await hashesBelow(paths.root);
    const model = Object.entries(made).filter(([path]) => !path.startsWith('source/'));
    expect(Object.fromEntries(model)).toEqual(
      await hashesBelow(modelPaths(homePaths(alone), 'tiny').root),
    );
  });

  it('makes another width of it without a network', async () => {
    const home = join(folder, 'kept');
    const from = sourceFolder(modelPaths(homePaths(home), 'tiny'));
    const request = { bundled: null, from };
    const { error, events } = await setUp(home, { quant: '2bit', request });
    expect(error, JSON.stringify(events.at(-1))).toBeNull();
  });

  it('carries it to another folder, and removes exactly what is its own', async () => {
    const home = homePaths(join(folder, 'kept'));
    const paths = await locatedPaths(home, 'tiny');
    const manifest = await readManifest(paths.manifest);
    if (manifest === null) throw new Error('no manifest');
    const target = join(folder, 'elsewhere');
    await mkdir(target);
    const emit = (): void => undefined;
    const given = { addon: testAddon(), fileSystem: 'ext4', signal: quiet, emit };
    const { to, foreign } = await moveModel(target, {
      ...given,
      home,
      id: 'tiny',
      paths,
      manifest,
    });
    expect(foreign).toEqual([]);
    await expectSame(join(to, 'source'), FIXTURE);

    await writeFile(join(to, 'source', 'mine.txt'), 'mine');
    await symlink('/etc/hostname', join(to, 'source', 'README.md'));
    const located = await locatedPaths(home, 'tiny');
    const removal = await planRemoval(located, manifest, await readStoredPlan(located.plan));
    expect(removal.foreign.sort()).toEqual(['source/README.md', 'source/mine.txt']);
    await remove(removal, located, quiet);
    expect((await readdir(join(to, 'source'))).sort()).toEqual(['README.md', 'mine.txt']);
  });

  it('takes no folder for its own that it did not make', async () => {
    const home = homePaths(join(folder, 'users'));
    expect((await setUp(home.home)).error).toBeNull();
    const paths = modelPaths(home, 'tiny');
    await mkdir(sourceFolder(paths));
    await writeFile(join(sourceFolder(paths), 'model-00001-of-00003.safetensors'), 'mine');
    const [manifest, stored] = [
      await readManifest(paths.manifest),
      await readStoredPlan(paths.plan),
    ];
    const { foreign } = await planRemoval(paths, manifest, stored);
    expect(foreign).toEqual(['source/model-00001-of-00003.safetensors']);
    const { error } = await setUp(home.home, { request: { keepSource: true } });
    expect(error).toMatchObject({ code: 'ERR_HOME', subject: sourceFolder(paths) });
    expect(await readdir(sourceFolder(paths))).toEqual(['model-00001-of-00003.safetensors']);
  });

  it('on another volume a shard that changed is named each time, and one that is right is read back', async ({
    skip,
  }) => {
    const root = join(folder, 'away');
    const home = homePaths(root);
    expect((await setUp(root, { request: { keepSource: true } })).error).toBeNull();
    const paths = await locatedPaths(home, 'tiny');
    const manifest = await readManifest(paths.manifest);
    if (manifest === null) throw new Error('no manifest');
    const volume = mountSmallVolume(join(folder, 'volume'), 64 << 20);
    if (volume === null) return skip('no volume');
    try {
      const shard = join(sourceFolder(paths), 'model-00002-of-00003.safetensors');
      const right = await readFile(shard);
      const wrong = Buffer.from(right);
      wrong[wrong.length - 1] = (wrong.at(-1) ?? 0) ^ 1;
      await writeFile(shard, wrong);
      const read = new Set<string>();
      const emit = (event: MoveEvent): void => {
        if (event.type === 'progress' && event.step === 'verify') read.add(event.item);
      };
      const task = { home, id: 'tiny', paths, manifest, addon: testAddon(), fileSystem: 'ext4' };
      const move = () => moveModel(volume.path, { ...task, signal: quiet, emit });
      // The copy of the first time must not be taken for the shard by its size.
      const refused = { code: 'ERR_MODEL_DAMAGED', subject: shard };
      await expect(move()).rejects.toMatchObject(refused);
      await expect(move()).rejects.toMatchObject(refused);
      await writeFile(shard, right);
      const { to } = await move();
      await expectSame(join(to, 'source'), FIXTURE);
      expect([...read].filter((path) => path.startsWith('source/'))).toHaveLength(3);
    } finally {
      volume.unmount();
    }
  });

  it('that is killed goes on in the middle of a shard, and fetches none twice', async () => {
    const repo = join(folder, 'repo');
    await makeLargeRepo(repo, { experts: 32, shardBytes: 4 << 20 });
    const killed = await KilledSetup.of(repo, join(folder, 'killed'), '4bit', {
      keepSource: true,
    });
    try {
      let kills = 0;
      const begun: number[] = [];
      for (const share of [0.1, 0.3, 0.2, 0.3, 1000]) {
        const whole = await wholeShards(killed);
        const { finished, ranges, stderr } = await killed.run(share * 16e6);
        expect(ranges.filter(({ sha256 }) => whole.includes(sha256))).toEqual([]);
        begun.push(...ranges.map(({ start }) => start));
        if (share === 1000) expect(finished, stderr).toBe(true);
        if (finished) break;
        kills += 1;
      }
      expect(begun.some((start) => start > 0)).toBe(true);
      expect(kills).toBeGreaterThan(1);
      await expectSame(sourceFolder(killed.paths), repo);
      const again = await killed.run(null);
      expect(again.ranges).toEqual([]);
    } finally {
      await killed.hub.close();
    }
  });
});
