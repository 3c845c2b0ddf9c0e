// How this copy came here, and that two services of the server are never made.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { installServer } from '../../src/application/install-service.js';
import { installedBy, upgradeOf } from '../../src/application/upgrade.js';
import { currentHost } from '../../src/base/host.js';
import { homePaths } from '../../src/base/paths.js';
import { homebrewDefinition, type ServiceManager } from '../../src/service.js';
import { BUILD_MS, buildCli, flashmoe, projectRoot } from '../helpers/built-cli.js';

const user = mkdtempSync(join(tmpdir(), 'flashmoe-upgrade-'));
const host = { ...currentHost(), homeDirectory: user };

beforeAll(buildCli, BUILD_MS);
afterAll(() => {
  rmSync(user, { recursive: true, force: true });
});

test.each([
  ['/opt/homebrew/Cellar/flashmoe/0.1.0/libexec/lib/node_modules/flashmoe', false, 'homebrew'],
  ['/usr/local/lib/node_modules/flashmoe', false, 'npm'],
  ['/Users/someone/.nvm/versions/node/v24.1.0/lib/node_modules/flashmoe', false, 'npm'],
  ['/Users/someone/.npm/_npx/0a1b/node_modules/flashmoe', false, 'npx'],
  ['/Users/someone/project/node_modules/flashmoe', false, 'project'],
  ['/Users/someone/flashmoe', true, 'checkout'],
])('%s was installed by %s: %s', (root, isCheckout, expected) => {
  expect(installedBy(root, isCheckout)).toBe(expected);
});

test('the commands are those of the way it came, and restart what runs', () => {
  const brew = '/opt/homebrew/Cellar/flashmoe/0.1.0/libexec/lib/node_modules/flashmoe';
  const project = '/Users/someone/project/node_modules/flashmoe';
  expect(upgradeOf({ host }, brew, true).steps).toEqual([
    'brew upgrade flashmoe',
    'flashmoe service restart',
  ]);
  expect(upgradeOf({ host }, project, false).steps).toEqual([
    'npm install --prefix /Users/someone/project flashmoe@latest',
  ]);
});

test('the command says it of this copy and changes nothing', async () => {
  const { status, stdout } = await flashmoe(['upgrade'], { env: { FLASHMOE_HOME: user } });
  expect(status).toBe(0);
  expect(stdout).toMatch(/^flashmoe \d+\.\d+\.\d+, installed from a checkout: /);
  expect(stdout).toContain(`make -C ${projectRoot.replace(/\/$/, '')} build`);
});

test('no second service is made where Homebrew starts the server, and its own is the one to restart', async () => {
  const path = homebrewDefinition(host);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, '');
  const context = {
    ...{ host, version: '0.0.0', home: homePaths(user), note: () => undefined },
    signal: new AbortController().signal,
  };
  // Whatever it is told to do would be a failure of this test.
  const manager = {} as ServiceManager;
  await expect(installServer(context, manager)).rejects.toMatchObject({
    code: 'ERR_SERVICE',
    message: `Homebrew starts the server already: ${path}`,
  });
  const root = '/usr/local/lib/node_modules/flashmoe';
  expect(upgradeOf({ host }, root, true).steps).toContain('brew services restart flashmoe');
});
