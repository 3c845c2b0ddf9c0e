import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { homePaths, modelPaths } from '../../src/base/paths.js';
import { locatedPaths } from '../../src/store/location.js';
import { start } from '../helpers/child.js';
import { setUp } from '../installer/in-process.js';
import { hashesBelow } from '../installer/provisioned.js';
import { mountSmallVolume, type SmallVolume } from '../installer/small-volume.js';

const PROGRAM = new URL('./programs/move.ts', import.meta.url);
/** More than a move has events. */
const MOST_RUNS = 200;

let folder: string;
let volume: SmallVolume | null;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fm-move-kill-'));
  volume = mountSmallVolume(join(folder, 'volume'), 64 << 20);
}, 60_000);
afterAll(async () => {
  volume?.unmount();
  await rm(folder, { recursive: true, force: true });
});

it('a move to another volume that is killed at its first event, then at its second, and so on, leaves the model whole in one place each time and comes to its end', async () => {
  if (volume === null) return;
  const home = homePaths(join(folder, 'home'));
  expect((await setUp(home.home)).error).toBeNull();
  const own = modelPaths(home, 'tiny').root;
  const hashes = await hashesBelow(own);
  let kills = 0;
  for (; kills < MOST_RUNS; kills += 1) {
    const child = start(PROGRAM, [home.home, volume.path, String(kills + 1)]);
    const status = await child.ended;
    if (status !== 'SIGKILL') {
      expect(status, child.stderr()).toBe(0);
      break;
    }
    // Where every command looks for it, all of it is there.
    const { root } = await locatedPaths(home, 'tiny');
    expect(await hashesBelow(root), `after kill ${kills + 1}`).toMatchObject(hashes);
  }
  expect(kills).toBeGreaterThan(5);
  expect(await hashesBelow(join(volume.path, 'tiny'))).toEqual(hashes);
  // A dead owner's lock stays where it is until somebody takes it.
  const left = (await readdir(own)).filter((name) => name !== 'setup.lock');
  expect(left).toEqual(['location.json']);
  console.log(`${kills} kills`);
}, 120_000);
