// A model with n-gram rows, set up from a hub: its table is a file of its own, whichever way the bytes came, and is checked,
// repaired and removed like the others.

import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { requantiseRequest } from '../../src/application/requantise.js';
import { currentHost } from '../../src/base/host.js';
import { expertsFolder, homePaths, type ModelPaths } from '../../src/base/paths.js';
import { HubClient } from '../../src/hub/client.js';
import { planOfModel } from '../../src/installer/plan-again.js';
import { recordDamage } from '../../src/store/damage.js';
import { readManifest } from '../../src/store/manifest.js';
import { installationPaths } from '../../src/store/model-files.js';
import { checkModel } from '../../src/store/repair/check.js';
import { repairFiles } from '../../src/store/repair/repair.js';
import { readGolden } from '../addon/golden.js';
import { FaultHub } from '../helpers/hub/fault-hub.js';
import { ignoreRange } from '../helpers/hub/faults.js';
import { recordingTask, testSettings } from '../helpers/hub/settings.js';
import { fixture, testAddon } from '../repack/fixtures.js';
import { setUp } from './in-process.js';
import { flip, hashesBelow, questionsFor } from './provisioned.js';

const addon = testAddon();
const TABLE = join(expertsFolder('4bit'), 'rows_01.bin');
/** 32 values of 4 bits, a scale and a bias in BF16. */
const ROW_BYTES = 16 + 2 + 2;

let folder = '';
beforeAll(async () => (folder = await mkdtemp(join(tmpdir(), 'fm-rows-'))));
afterAll(() => rm(folder, { recursive: true }));

async function provisioned(name: string, hub: FaultHub): Promise<ModelPaths> {
  const home = join(folder, name);
  const golden = await readGolden('qwen4_exp');
  const known = {
    ...{ kind: 'tokens' as const, name: 'greedy tokens', prompt: [...golden.prompt] },
    ...{ expected: golden.greedy, margins: golden.margin },
  };
  const { error } = await setUp(home, {
    request: { bundled: null, questions: [known] },
    world: { hub: testSettings(hub.endpoint) },
  });
  if (error !== null) throw error;
  return installationPaths(homePaths(home), 'tiny', '4bit');
}

/** Row `index` of the checkpoint's table, put together from its part's three tensors. */
async function sourceRows(): Promise<(index: number) => Buffer> {
  const tensors = new Map<string, Buffer>();
  for (const shard of [1, 2, 3]) {
    const bytes = await readFile(
      join(fixture('qwen4_exp'), `model-0000${shard}-of-00003.safetensors`),
    );
    const start = 8 + Number(bytes.readBigUInt64LE());
    const header = JSON.parse(bytes.toString('utf8', 8, start)) as Record<
      string,
      { data_offsets?: [number, number] }
    >;
    for (const [key, { data_offsets: at }] of Object.entries(header)) {
      const part = /ngram_embedding\.shard_(\d+\.\w+)$/.exec(key)?.[1];
      if (part !== undefined && at) tensors.set(part, bytes.subarray(start + at[0], start + at[1]));
    }
  }
  return (index) => {
    const [part, row] = [Math.floor(index / 1024), index % 1024];
    return Buffer.concat(
      ['weight', 'scales', 'biases'].map((name) => {
        const bytes = name === 'weight' ? 16 : 2;
        return (
          tensors.get(`${part}.${name}`)?.subarray(row * bytes, (row + 1) * bytes) ??
          Buffer.alloc(0)
        );
      }),
    );
  };
}

test('two bits made of the model that is here have the same table', async () => {
  const hub = await FaultHub.start(fixture('qwen4_exp'), 'flashmoe/tiny');
  const { root } = await provisioned('narrowed', hub);
  await hub.close();
  const home = join(folder, 'narrowed');
  const choice = {
    model: 'tiny',
    quant: '2bit' as const,
    size: null,
    calibration: null,
    inPlace: false,
  };
  const { signal } = new AbortController();
  const context = { host: currentHost(), version: 'test', home: homePaths(home), signal };
  const request = await requantiseRequest({ ...context, note: () => undefined }, choice);
  const { error } = await setUp(home, {
    quant: '2bit',
    request: { ...request, questions: questionsFor('2bit') },
  });
  expect(error).toBeNull();
  const narrow = installationPaths(homePaths(home), 'tiny', '2bit').root;
  const bytes = await readFile(join(narrow, expertsFolder('2bit'), 'rows_01.bin'));
  expect(bytes).toEqual(await readFile(join(root, TABLE)));
}, 60_000);

test('a row of the table is its codes, scale and bias, and streamed ranges make what whole shards make', async () => {
  const hub = await FaultHub.start(fixture('qwen4_exp'), 'flashmoe/tiny');
  const streamed = await hashesBelow((await provisioned('ranges', hub)).root);
  hub.rule({ on: 'cdn', fault: ignoreRange });
  const { root } = await provisioned('shards', hub);
  await hub.close();
  const whole = await hashesBelow(root);
  for (const file of [TABLE, 'model_weights.bin', join(expertsFolder('4bit'), 'layout.json')]) {
    expect(whole[file], file).toBeDefined();
    expect(streamed[file], file).toBe(whole[file]);
  }

  const rows = await sourceRows();
  const table = await readFile(join(root, TABLE));
  expect(table).toHaveLength(4 * 1024 * ROW_BYTES);
  for (const index of [0, 1, 1023, 1024, 2500, 4095]) {
    expect(table.subarray(index * ROW_BYTES, (index + 1) * ROW_BYTES), `${index}`).toEqual(
      rows(index),
    );
  }
});

test('verify finds a changed row and repair fetches its block again', async () => {
  const hub = await FaultHub.start(fixture('qwen4_exp'), 'flashmoe/tiny');
  const paths = await provisioned('repair', hub);
  const before = await hashesBelow(paths.root);
  const manifest = await readManifest(paths.manifest);
  if (manifest === null) throw new Error('the model was not provisioned');
  expect(manifest.files.map(({ path }) => path)).toContain(TABLE);
  await flip(join(paths.root, TABLE), 70_000);

  const damaged = (await checkModel(paths, manifest, { addon })).files.filter((f) => f.problem);
  expect(damaged.map(({ path, blocks }) => [path, blocks])).toEqual([[TABLE, [0]]]);
  await recordDamage(paths, [TABLE]);
  const client = new HubClient(testSettings(hub.endpoint));
  const task = recordingTask();
  const stored = await planOfModel(paths, manifest, client, task);
  await repairFiles(damaged, { ...task, paths, manifest, stored, addon, client, threads: 2 });
  client.close();
  await hub.close();
  expect(await hashesBelow(paths.root)).toEqual(before);
});
