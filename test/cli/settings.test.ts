import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { changeSettings, readSettings } from '../../src/cli/settings.js';

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'flashmoe-settings-'));
});
afterAll(() => rm(folder, { recursive: true }));

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

  test.each([
    ['not JSON', '{'],
    ['not an object', '1'],
    ['`port` is not a number from 1 to 65535', '{"port":0}'],
    ['`port` is not a number from 1 to 65535', '{"port":"80"}'],
    ['`quant` is none of 4bit, 2bit, mixed', '{"quant":"3bit"}'],
    ['`model` is not a text', '{"model":3}'],
    ['`directReads` is neither true nor false', '{"directReads":"yes"}'],
    ['`backend` is neither cpu nor metal', '{"backend":"cuda"}'],
  ])('a file that is wrong (%s) is named and left alone', async (what, text) => {
    const path = join(folder, 'wrong.json');
    await writeFile(path, text);
    await expect(readSettings(path)).rejects.toMatchObject({
      code: 'ERR_HOME',
      message: `${path}: ${what}; the file was left as it is`,
    });
    await expect(changeSettings(path, { port: 1 })).rejects.toMatchObject({ code: 'ERR_HOME' });
    expect(await readFile(path, 'utf8')).toBe(text);
  });
});
