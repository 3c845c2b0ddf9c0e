import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { BUILD_MS, buildCli, flashmoe, type CliResult } from '../helpers/built-cli.js';

const home = mkdtempSync(join(tmpdir(), 'flashmoe-config-'));
const path = join(home, 'settings.json');
afterAll(() => rmSync(home, { recursive: true, force: true }));
beforeAll(async () => {
  for (const [id, quant] of [
    ['tiny', '4bit'],
    ['tiny-2bit', '2bit'],
  ] as const) {
    mkdirSync(join(home, 'models', id), { recursive: true });
    const hash = 'a'.repeat(64);
    const manifest = {
      ...{ format: 'flashmoe-model', version: 1, model: 'tiny', repo: 'flashmoe/tiny', quant },
      ...{ revision: 'main', commit: 'c', fingerprint: hash, files: [], finalBytes: 0 },
      ...{ contentSha256: hash, receipt: null },
    };
    writeFileSync(join(home, 'models', id, 'manifest.json'), JSON.stringify(manifest));
  }
  await buildCli();
}, BUILD_MS);

const run = (...args: string[]): Promise<CliResult> =>
  flashmoe(args, { env: { FLASHMOE_HOME: home } });
const written = (): unknown => JSON.parse(readFileSync(path, 'utf8'));

test('a key is set, shown, and removed; a value that cannot be is refused before the file is touched', async () => {
  expect((await run('config', 'path')).stdout).toBe(`${path}\n`);
  expect(await run('config', 'get', 'port')).toMatchObject({ status: 1, stdout: '' });
  expect((await run('config', 'set', 'port', '8080')).status).toBe(0);
  expect((await run('config', 'set', 'backend', 'cpu', '--model', 'tiny')).status).toBe(0);
  expect(written()).toEqual({ port: 8080, models: { tiny: { backend: 'cpu' } } });
  expect(await run('config', 'get', 'port')).toMatchObject({ status: 0, stdout: '8080\n' });
  expect((await run('config', 'get', 'backend', '--model', 'tiny')).stdout).toBe('cpu\n');

  const refused = await run('config', 'set', 'port', '99999');
  expect(refused.status).toBe(64);
  expect(refused.stderr).toContain('port must be a whole number from 1 to 65535');
  const unknown = await run('config', 'set', 'prot', '1');
  expect(unknown.status).toBe(64);
  expect(unknown.stderr).toContain('no key prot');
  expect(unknown.stderr).toContain('port');
  expect((await run('config', 'set', 'port', '80', '--model', 'tiny')).status).toBe(64);

  expect((await run('config', 'unset', 'port')).status).toBe(0);
  expect(written()).toEqual({ models: { tiny: { backend: 'cpu' } } });
}, 60_000);

test('use sets the model and the width that answer when none is named', async () => {
  expect((await run('use', 'nothing')).status).toBe(1);
  expect((await run('use', 'tiny-2bit')).stdout).toContain('tiny-2bit answers');
  expect(written()).toMatchObject({ model: 'tiny', quant: '2bit' });
  const { stdout } = await run('status', '--json');
  expect(JSON.parse(stdout)).toMatchObject({ defaultModel: 'tiny-2bit' });
  const again = await run('use', 'tiny', '--json');
  expect(JSON.parse(again.stdout)).toMatchObject({ event: 'default', id: 'tiny', quant: '4bit' });
}, 60_000);

test('a file that is broken is a finding of the doctor, and status says so and goes on', async () => {
  writeFileSync(path, '{"port":"eighty","mine":true}');
  const status = await run('status', '--json');
  expect(status).toMatchObject({ status: 0 });
  expect(status.stderr).toContain('`port` must be');
  const { stdout } = await run('doctor', '--only', 'settings.file', '--json');
  const text = stdout.trimEnd().split('\n').at(-1) ?? '';
  expect(text).toContain('`port` must be');
  expect(text).toContain('mine is not known');
  expect(await run('config', 'list')).toMatchObject({ status: 1 });
  expect((await run('run', 'hello')).stderr).toContain('`port` must be');
  expect((await run('config', 'set', 'port', '80')).status).toBe(0);
  expect(written()).toEqual({ port: 80, mine: true });
}, 60_000);
