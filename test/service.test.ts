import { expect, test } from 'vitest';
import { homePaths } from '../src/base/paths.js';
import { assertServiceSpec } from '../src/service.js';
import { serverService, serviceLogs, stablePath } from '../src/service-command.js';
import { detectServiceManager, noServiceManager } from '../src/service-manager.js';
import { awkwardService } from './helpers/service-spec.js';

test.each([
  ['/opt/homebrew/Cellar/node/24.9.0/bin/node', '/opt/homebrew/opt/node/bin/node'],
  ['/opt/homebrew/Cellar/node@22/22.1.0_1/bin/node', '/opt/homebrew/opt/node@22/bin/node'],
  ['/usr/local/Cellar/flashmoe/0.1.0', '/usr/local/opt/flashmoe'],
  [
    '/home/linuxbrew/.linuxbrew/Cellar/flashmoe/0.1.0/libexec/lib/node_modules/flashmoe/dist/cli/main.js',
    '/home/linuxbrew/.linuxbrew/opt/flashmoe/libexec/lib/node_modules/flashmoe/dist/cli/main.js',
  ],
  ['/usr/bin/node', '/usr/bin/node'],
  [
    '/Users/someone/.nvm/versions/node/v22.1.0/bin/node',
    '/Users/someone/.nvm/versions/node/v22.1.0/bin/node',
  ],
  ['/opt/homebrew/Cellar', '/opt/homebrew/Cellar'],
])('%s is written to a service file as %s', (path, expected) => {
  expect(stablePath(path)).toBe(expected);
});

test('the server under Homebrew runs by paths that an upgrade keeps', () => {
  const spec = serverService({
    node: '/opt/homebrew/Cellar/node/24.9.0/bin/node',
    entry: '/opt/homebrew/Cellar/flashmoe/0.1.0/libexec/lib/node_modules/flashmoe/dist/cli/main.js',
    home: homePaths('/Users/someone/.flashmoe'),
  });
  expect(() => assertServiceSpec(spec)).not.toThrow();
  expect(JSON.stringify(spec)).not.toContain('Cellar');
  expect(spec.command.slice(2)).toEqual(['serve', '--as-service']);
});

test('a service whose home may be unplugged logs and works where the user is', () => {
  const home = homePaths('/Volumes/Big/flashmoe');
  const logs = serviceLogs(home, '/Users/someone', 'darwin');
  expect(logs).toBe('/Users/someone/Library/Logs/flashmoe');
  const spec = serverService({ node: '/usr/bin/node', entry: '/usr/bin/main.js', home, logs });
  const { workingDirectory, stdoutPath, stderrPath, environment } = spec;
  for (const path of [workingDirectory, stdoutPath, stderrPath]) {
    expect(path).not.toContain('/Volumes/');
  }
  expect(environment['FLASHMOE_HOME']).toBe('/Volumes/Big/flashmoe');
  expect(serviceLogs(homePaths('/home/me/.flashmoe'), '/home/me', 'linux')).toBe(
    '/home/me/.flashmoe/logs',
  );
});

test.each([
  ['a versioned Homebrew program', { command: ['/opt/homebrew/Cellar/node/24.9.0/bin/node'] }],
  [
    'a versioned Homebrew path in PATH',
    { environment: { PATH: '/bin:/usr/local/Cellar/x/1/bin' } },
  ],
  ['a variable named like a secret', { environment: { HF_TOKEN: 'x' } }],
  ['an API key by name', { environment: { FLASHMOE_API_KEY: 'x' } }],
  ['a value that looks like a hub token', { environment: { EXTRA: 'hf_abcdefghijkl' } }],
  [
    'a token among the arguments',
    { command: ['/usr/bin/node', '--key', 'sk-abcdefghijklmnopqrst'] },
  ],
  ['a proxy URL with a password', { environment: { HTTPS_PROXY: 'http://me:word@proxy:3128' } }],
  ['a line break in an argument', { command: ['/usr/bin/node', 'a\nExecStart=/bin/evil'] }],
  ['a line break in the description', { description: 'a\n[Service]' }],
  ['a NUL in a variable', { environment: { A: 'b\0c' } }],
  ['a relative program', { command: ['node'] }],
  ['no program', { command: [] }],
  ['a relative working directory', { workingDirectory: 'here' }],
  ['a variable name that is none', { environment: { 'A B': 'c' } }],
  ['a label that climbs', { label: '../../evil' }],
])('a service with %s is refused, and its value is not repeated when secret', (_, change) => {
  const thrown = (): void => assertServiceSpec(awkwardService('/tmp/x', change));
  expect(thrown).toThrow(expect.objectContaining({ code: 'ERR_SERVICE' }));
  expect(thrown).not.toThrow(/hf_abc|sk-abc|me:word/);
});

test('a proxy without a password may be written', () => {
  const spec = awkwardService('/tmp/x', { environment: { HTTPS_PROXY: 'http://proxy:3128' } });
  expect(() => assertServiceSpec(spec)).not.toThrow();
});

test('a machine with neither manager gets a clear word and another way', async () => {
  const signal = new AbortController().signal;
  for (const platform of ['darwin', 'linux', 'freebsd']) {
    const host = { platform, homeDirectory: '/tmp/x', userId: 501, env: { PATH: '/nowhere' } };
    expect(await detectServiceManager(host, signal)).toBeNull();
  }
  expect(noServiceManager()).toMatchObject({ code: 'ERR_SERVICE' });
  expect(noServiceManager().hint).toContain('flashmoe serve');
});
