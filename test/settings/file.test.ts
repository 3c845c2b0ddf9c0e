import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { defaultAfterSetup } from '../../src/settings/default-model.js';
import { changeSettings, inspectSettings, readSettings } from '../../src/settings/file.js';
import { engineOptionsFor } from '../../src/settings/schema.js';

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'flashmoe-settings-'));
});
afterAll(() => rm(folder, { recursive: true }));

let count = 0;
async function fileOf(text: string): Promise<string> {
  const path = join(folder, `${(count += 1)}.json`);
  await writeFile(path, text);
  return path;
}

describe('settings', () => {
  test('none is no error', async () => {
    expect(await readSettings(join(folder, 'absent.json'))).toEqual({});
  });

  test('a change keeps what it does not name', async () => {
    const path = join(folder, 'settings.json');
    await changeSettings(path, { port: 12000 });
    await changeSettings(path, { model: 'tiny', quant: '2bit' });
    await changeSettings(path, { backend: 'cpu', directReads: true });
    const rest = { model: 'tiny', quant: '2bit', port: 12000 };
    expect(await readSettings(path)).toEqual({ ...rest, backend: 'cpu', directReads: true });
  });

  test('keys that nobody knows are named, and kept when another key changes', async () => {
    const path = await fileOf('{"prot":1,"models":{"tiny":{"backend":"cpu","later":[2]}}}');
    expect(await inspectSettings(path)).toEqual({
      settings: { models: { tiny: { backend: 'cpu' } } },
      unknown: ['prot', 'models.tiny.later'],
      problems: [],
    });
    await changeSettings(path, { directReads: true }, 'tiny');
    await changeSettings(path, { port: 80 });
    expect(JSON.parse(await readFile(path, 'utf8'))).toEqual({
      prot: 1,
      models: { tiny: { backend: 'cpu', later: [2], directReads: true } },
      port: 80,
    });
    await changeSettings(path, { port: null });
    expect(await readSettings(path)).not.toHaveProperty('port');
  });

  test.each([
    ['not JSON', '{'],
    ['not a JSON object', '1'],
    ['not a JSON object', '[]'],
  ])('a file that is %s is named and never written over', async (what, text) => {
    const path = await fileOf(text);
    const refusal = {
      code: 'ERR_HOME',
      message: `${path}: ${what}; the file was left as it is`,
    };
    await expect(readSettings(path)).rejects.toMatchObject(refusal);
    await expect(changeSettings(path, { port: 1 })).rejects.toMatchObject(refusal);
    expect(await readFile(path, 'utf8')).toBe(text);
  });

  test.each([
    ['`port` must be a whole number from 1 to 65535', 'port', '{"port":0}'],
    ['`port` must be a whole number from 1 to 65535', 'port', '{"port":"80"}'],
    ['`quant` must be one of 4bit, 2bit, mixed, 3bit, 5bit, tiered', 'quant', '{"quant":"7bit"}'],
    ['`model` must be a text that is not empty', 'model', '{"model":3}'],
    ['`directReads` must be true or false', 'directReads', '{"directReads":"yes"}'],
    ['`backend` must be one of cpu, metal', 'backend', '{"backend":"cuda"}'],
    [
      '`promptCacheGB` must be a number of GB from 0 to 100000',
      'promptCacheGB',
      '{"promptCacheGB":-1}',
    ],
    ['`models` must be an object with a key for each model', 'models', '{"models":[]}'],
    ['`models.x` must be an object', 'models', '{"models":{"x":1}}'],
    ['`models.x.backend` must be one of cpu, metal', 'models', '{"models":{"x":{"backend":1}}}'],
  ])('%s, else nobody acts on the file; the key can be corrected', async (what, key, text) => {
    const path = await fileOf(text);
    expect((await inspectSettings(path)).problems).toEqual([what]);
    await expect(readSettings(path)).rejects.toThrow(what);
    await changeSettings(path, { [key]: null });
    expect(await readSettings(path)).toEqual({});
  });

  test('a value that would be wrong is not written', async () => {
    const path = await fileOf('{"port":0}');
    await expect(changeSettings(path, { quant: '7bit' as '2bit' })).rejects.toThrow(
      '`quant` must be',
    );
    expect(await readFile(path, 'utf8')).toBe('{"port":0}');
  });
});

test('what was typed goes before the settings of the model, and those before the settings of all', () => {
  const settings = {
    backend: 'metal',
    directReads: false,
    models: { tiny: { backend: 'cpu' } },
  } as const;
  expect(engineOptionsFor({}, settings, 'tiny')).toMatchObject({
    backend: 'cpu',
    directReads: false,
  });
  expect(engineOptionsFor({ directReads: true }, settings, 'other')).toMatchObject({
    backend: 'metal',
    directReads: true,
  });
  expect(engineOptionsFor({ backend: 'metal' }, settings, 'tiny').backend).toBe('metal');
  expect(engineOptionsFor({ backend: null }, {}, 'tiny').backend).toBeNull();
});

describe('the default after a setup of big at 2bit', () => {
  const finished = { model: 'big', quant: '2bit', bundled: false } as const;
  test.each([
    ['was not set', '{}', true, 'big', '2bit'],
    ['is another width of the same model', '{"model":"big","quant":"4bit"}', true, 'big', '4bit'],
    ['is another model', '{"model":"other","quant":"4bit"}', true, 'other', '4bit'],
    [
      'is a model that is not here any more',
      '{"model":"other","quant":"4bit"}',
      false,
      'big',
      '2bit',
    ],
    ['is the bundled one', '{"model":"tiny","quant":"4bit"}', true, 'big', '2bit'],
  ])('%s: %s', async (_, text, isHere, model, quant) => {
    const path = await fileOf(text);
    const isInstalled = (): Promise<boolean> => Promise.resolve(isHere);
    const { now } = await defaultAfterSetup(path, finished, (id) => id === 'tiny', isInstalled);
    expect(now).toEqual({ model, quant });
    expect(await readSettings(path)).toMatchObject({ model, quant });
  });
});
