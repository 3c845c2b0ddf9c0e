// Another width of a model that is here, without a network: the bytes of a setup from the checkpoint, through every kill.

import { cp, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { requantiseRequest, type RequantiseChoice } from '../../src/application/requantise.js';
import { stateOf } from '../../src/application/state-of.js';
import { listInstallations } from '../../src/application/installations.js';
import { currentHost } from '../../src/base/host.js';
import { startBundledHub } from '../../src/hub/bundled-hub.js';
import { HubClient } from '../../src/hub/client.js';
import { checkModel } from '../../src/store/repair/check.js';
import { repairFiles } from '../../src/store/repair/repair.js';
import { recordingTask, testSettings } from '../helpers/hub/settings.js';
import { testAddon } from '../repack/fixtures.js';
import { homePaths, type ModelPaths } from '../../src/base/paths.js';
import type { Quant } from '../../src/models/quant.js';
import { installationPaths } from '../../src/store/model-files.js';
import { Presence } from '../../src/store/presence.js';
import { planRemoval } from '../../src/store/removal.js';
import { readStoredPlan, type StoredPlan } from '../../src/store/stored-plan.js';
import { readManifest, type ModelManifest } from '../../src/store/manifest.js';
import { planText } from '../../src/ui/plan-view.js';
import { projectRoot } from '../helpers/built-cli.js';
import { start } from '../helpers/child.js';
import { ignoreRange } from '../helpers/hub/faults.js';
import { KilledSetup } from './cut-short.js';
import { testCalibration } from './calibrations.js';
import { only, setUp, type RunResult } from './in-process.js';
import { flip, hashesBelow, questionsFor } from './provisioned.js';

const KILLS = Number(process.env['FLASHMOE_KILLS'] ?? 4);
const seed = Number(process.env['FLASHMOE_SEED'] ?? Date.now() % 100_000);

let folder: string;
/** A home with tiny as published. */
let published: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fm-requantise-'));
  published = join(folder, 'published');
  expect((await setUp(published)).error).toBeNull();
}, 120_000);
afterAll(() => rm(folder, { recursive: true }));

const pathsAt = (home: string, quant: Quant): ModelPaths =>
  installationPaths(homePaths(home), 'tiny', quant);

/** A home of its own that begins with the published model. */
async function homeOf(name: string): Promise<string> {
  const home = join(folder, name);
  await cp(published, home, { recursive: true });
  return home;
}

/** Its experts are of other lengths at 4 bits than at 2, whole pages apart: those of the fixtures fill one page at either. */
const TINY = join(projectRoot, 'models/tiny');

const PLAIN: RequantiseChoice = {
  ...{ model: 'tiny', quant: '2bit', size: null, calibration: null, inPlace: false },
};

/** There is no hub: every address that the environment names refuses. */
async function requantise(
  home: string,
  choice: Partial<RequantiseChoice>,
  questions?: [],
): Promise<RunResult> {
  const { signal } = new AbortController();
  const context = { host: currentHost(), version: 'test', home: homePaths(home), signal };
  const quant = choice.quant ?? '2bit';
  const request = await requantiseRequest(
    { ...context, note: () => undefined },
    { ...PLAIN, ...choice },
  );
  // The fixture's weights are random, so no other questions can be asked of it.
  return await setUp(home, {
    quant,
    request: { ...request, questions: questions ?? questionsFor(quant) },
  });
}

/** The bad blocks, from the checkpoint. */
async function mend(paths: ModelPaths, manifest: ModelManifest, stored: StoredPlan): Promise<void> {
  const server = await startBundledHub(TINY, 'flashmoe/tiny');
  const client = new HubClient(testSettings(server.endpoint));
  const addon = testAddon();
  try {
    const bad = (await checkModel(paths, manifest, { addon })).files.filter((file) => file.problem);
    expect(bad).toHaveLength(1);
    const task = { ...recordingTask(), paths, manifest, stored, addon, client, threads: 2 };
    await repairFiles(bad, task);
  } finally {
    client.close();
    await server.close();
  }
}

describe('a width that is made of the model as published', { timeout: 120_000 }, () => {
  it('is byte for byte what a setup makes of the checkpoint, whatever the width', async () => {
    const stored = await readStoredPlan(pathsAt(published, '4bit').plan);
    if (stored === null) throw new Error('no plan');
    const calibration = join(folder, 'calibration.safetensors');
    await writeFile(calibration, testCalibration(stored, 1));
    const size = 3_000_000;
    for (const [name, choice] of Object.entries<Partial<RequantiseChoice>>({
      plain: { quant: '2bit' },
      weighed: { quant: '2bit', calibration },
      'three bits': { quant: '3bit' },
      'three bits, weighed': { quant: '3bit', calibration },
      mixed: { quant: 'mixed' },
      sized: { quant: 'mixed', size },
    })) {
      const { quant = '2bit', calibration: file = null, size: most = null } = choice;
      const far = join(folder, `far-${name}`);
      const request = { calibration: file, size: most };
      expect((await setUp(far, { quant, request })).error, name).toBeNull();
      const near = await homeOf(`near-${name}`);
      const { error, events, receipt } = await requantise(near, choice);
      expect(error, name).toBeNull();
      expect(await hashesBelow(pathsAt(near, quant).root), name).toEqual(
        await hashesBelow(pathsAt(far, quant).root),
      );
      expect(receipt).toMatchObject({ quant, downloadedBytes: 0 });
      const [shown] = only(events, 'plan');
      expect(shown && planText(shown.plan)).toMatch(/made of +.*tiny; nothing is fetched/);
      expect(receipt?.peakBytes).toBeLessThanOrEqual(shown?.plan.peakBytes ?? 0);
    }
  });

  it('can be tiered: the most used experts as published, in a size; verified, mended and removed as any', async () => {
    const home = join(folder, 'tiered');
    expect((await setUp(home, { request: { bundled: TINY, questions: [] } })).error).toBeNull();
    const stored = await readStoredPlan(pathsAt(home, '4bit').plan);
    if (stored === null) throw new Error('no plan');
    const calibration = join(folder, 'tiered.safetensors');
    await writeFile(
      calibration,
      testCalibration(stored, 1, (expert, layer) => 3 * expert + layer),
    );
    const size = 8_500_000;
    const made = { quant: 'tiered', size, calibration } as const;
    await expect(requantise(home, { ...made, calibration: null })).resolves.toMatchObject({
      error: { code: 'ERR_USAGE', subject: '--calibration' },
    });
    const { error, receipt } = await requantise(home, made, []);
    expect(error).toBeNull();
    expect(receipt?.finalBytes).toBeLessThanOrEqual(size);
    const to = pathsAt(home, 'tiered');
    const manifest = await readManifest(to.manifest);
    const plan = await readStoredPlan(to.plan);
    if (manifest === null || plan === null) throw new Error('no manifest');
    const kept = plan.pack.layers.map((layer) => layer.kept?.experts.length ?? 0);
    expect(Math.max(...kept)).toBeGreaterThan(0);
    expect(Math.max(...kept)).toBeLessThan(32);
    expect((await planRemoval(to, manifest, plan)).foreign).toEqual([]);
    const checked = await checkModel(to, manifest, { addon: testAddon() });
    expect(checked.files.filter(({ problem }) => problem !== null)).toEqual([]);
    const before = await hashesBelow(to.root);
    const far = join(folder, 'far-tiered');
    const request = { bundled: TINY, questions: [], size, calibration };
    const setup = await setUp(far, { quant: 'tiered', request });
    expect(setup.error).toBeNull();
    expect(await hashesBelow(pathsAt(far, 'tiered').root)).toEqual(before);
    expect(setup.receipt?.weightErrors?.relativeRmse).toBeCloseTo(
      receipt?.weightErrors?.relativeRmse ?? NaN,
      12,
    );
    const [shown] = only(setup.events, 'plan');
    expect(setup.receipt?.peakBytes).toBeLessThanOrEqual(shown?.plan.peakBytes ?? 0);
    const layer = manifest.files.find(({ path }) => path.endsWith('layer_05.bin'));
    await flip(join(to.root, layer?.path ?? ''), (layer?.size ?? 0) - 40_000);
    await mend(to, manifest, plan);
    expect(await hashesBelow(to.root)).toEqual(before);
  });

  it('can be tiered from a checkpoint through deaths of the process, and from whole shards', async () => {
    const narrow = join(folder, 'tiny-2bit');
    const options = { quant: '2bit' as const, request: { bundled: TINY, questions: [] } };
    expect((await setUp(narrow, options)).error).toBeNull();
    const stored = await readStoredPlan(pathsAt(narrow, '2bit').plan);
    if (stored === null) throw new Error('no plan');
    const killed = await KilledSetup.of(TINY, join(folder, 'killed-tiered'), 'tiered');
    const calibration = join(folder, 'deaths.safetensors');
    const bytes = testCalibration(stored, 1, (expert, layer) => 3 * expert + layer);
    await writeFile(calibration, bytes);
    Object.assign(killed.kept, { calibration, size: 8_500_000 });
    for (const sent of [1_000_000, 2_500_000, 2_500_000]) {
      expect((await killed.run(sent)).finished).toBe(false);
    }
    expect((await killed.run(null)).finished).toBe(true);
    const whole = join(folder, 'whole-tiered');
    killed.hub.reset();
    killed.hub.rule({ on: 'cdn', fault: ignoreRange });
    const { error } = await setUp(whole, {
      quant: 'tiered',
      request: { bundled: null, calibration, size: 8_500_000, questions: [] },
      world: { hub: testSettings(killed.hub.endpoint) },
    });
    await killed.hub.close();
    expect(error).toBeNull();
    expect(await hashesBelow(pathsAt(whole, 'tiered').root)).toEqual(
      await hashesBelow(killed.paths.root),
    );
  });

  it('refuses a source whose bytes are not what its manifest says, and says which file', async () => {
    const home = await homeOf('damaged');
    await flip(join(pathsAt(home, '4bit').root, 'packed_experts/layer_03.bin'), 5_000);
    const { error } = await requantise(home, {});
    expect(error).toMatchObject({
      code: 'ERR_MODEL_DAMAGED',
      message: expect.stringContaining('layer_03.bin is not what its manifest says') as string,
    });
    const [, unfinished] = await listInstallations(homePaths(home));
    if (unfinished === undefined) throw new Error('nothing was begun');
    expect(await stateOf(unfinished, null)).toMatchObject({
      next: ['requantise', 'tiny', '--quant', '2bit'],
    });
  });

  it('takes the place of the old one in place, and says what is not ours', async () => {
    const far = join(folder, 'far-plain');
    const home = await homeOf('place');
    const old = pathsAt(home, '4bit');
    await writeFile(join(old.root, 'notes.txt'), 'mine');
    const presence = new Presence();
    await presence.enter(old);
    const locked = await requantise(home, { inPlace: true });
    expect(locked.error).toMatchObject({ code: 'ERR_LOCKED' });
    expect(await readdir(homePaths(home).models)).toContain('tiny');
    await presence.leave();
    const { error, events } = await requantise(home, { inPlace: true });
    expect(error).toBeNull();
    const to = pathsAt(home, '2bit');
    const { 'before/notes.txt': notes, ...made } = await hashesBelow(to.root);
    expect(notes).toBeDefined();
    expect(made).toEqual(await hashesBelow(pathsAt(far, '2bit').root));
    expect(await readdir(homePaths(home).models)).toEqual(['tiny-2bit']);
    const said = only(events, 'notice').map(({ message }) => message);
    expect(said).toContainEqual(expect.stringMatching(/^stays: .*before\/notes\.txt, not ours$/));
    const [shown] = only(events, 'plan');
    const most = Math.max(...only(events, 'disk').map(({ usedBytes }) => usedBytes));
    expect(most).toBeLessThanOrEqual(shown?.plan.peakBytes ?? 0);
  });
});

describe(
  'making a width, killed with SIGKILL at random moments',
  { timeout: 60_000 + 15_000 * KILLS },
  () => {
    it.each([false, true])(
      `${KILLS} times, in place: %s, ends with the files of a setup`,
      async (inPlace) => {
        const program = new URL('./programs/requantise.ts', import.meta.url);
        const far = join(folder, 'far-plain');
        if (!(await readdir(folder)).includes('far-plain')) await setUp(far, { quant: '2bit' });
        const expected = await hashesBelow(pathsAt(far, '2bit').root);
        let state = seed + Number(inPlace);
        const random = (): number => {
          state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
          return state / 2 ** 32;
        };
        let [deaths, ends, home] = [0, 0, ''];
        const phases = new Map<string, number>();
        let begun = false;
        while (deaths < KILLS || begun) {
          if (!begun) home = await homeOf(`killed-${inPlace}-${ends}`);
          begun = true;
          const isLast = deaths >= KILLS;
          // From its plan on; half of them while it packs.
          let left = 4 + Math.floor(random() * 12);
          const job = { home, ...PLAIN, inPlace };
          const child = start(program, [JSON.stringify(job)]);
          let [phase, finished] = ['start', false];
          let timer: NodeJS.Timeout | null = null;
          for (;;) {
            const line = await child.line().catch(() => null);
            if (line === null) break;
            const event = JSON.parse(line) as { type: string; step?: string; status?: string };
            if (event.type === 'step' && event.status !== 'done') phase = event.step ?? '';
            if (event.status !== 'skipped' && event.type in { step: 0, layer: 0 }) left -= 1;
            if (left === 0 && !isLast) {
              timer = setTimeout(() => child.process.kill('SIGKILL'), random() * 15);
            }
            // What the model says was tested above.
            finished ||= event.step === 'service';
            if (finished) child.process.kill('SIGKILL');
          }
          if (timer !== null) clearTimeout(timer);
          const ended = await child.ended;
          expect(ended, `seed ${seed}: ${child.stderr()}`).toBe('SIGKILL');
          const to = pathsAt(home, '2bit');
          const manifest = await readManifest(to.manifest);
          // The signal may come between the last file and the event that tells of it: nothing is left to go on with then.
          const hasGivenUp = (await readdir(to.root).catch(() => ['before'])).every(
            (name) => name !== 'before',
          );
          finished ||= inPlace && manifest !== null && hasGivenUp;
          const { foreign } = await planRemoval(to, manifest, await readStoredPlan(to.plan));
          expect(foreign, `seed ${seed}, ${phase}`).toEqual([]);
          if (!finished) {
            deaths += 1;
            phases.set(phase, (phases.get(phase) ?? 0) + 1);
            continue;
          }
          // Of the process that was ended behind its last file.
          await rm(to.lock, { recursive: true, force: true });
          const made = await hashesBelow(to.root);
          expect(made, `seed ${seed}`).toEqual(expected);
          const models = await readdir(homePaths(home).models);
          expect(models.sort()).toEqual(inPlace ? ['tiny-2bit'] : ['tiny', 'tiny-2bit']);
          await rm(home, { recursive: true });
          [begun, ends] = [false, ends + 1];
        }
        console.log(
          `seed ${seed}: ${deaths} kills over ${ends} models, in ${JSON.stringify([...phases])}`,
        );
      },
    );
  },
);
