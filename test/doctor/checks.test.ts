import { mkdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createServer as createSocket } from 'node:net';
import { dirname, join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import type { ProbeResult } from '../../src/addon/probe.js';
import { probeAddon } from '../../src/addon/probe.js';
import type { DoctorContext } from '../../src/doctor/context.js';
import { launchdManager } from '../../src/launchd/index.js';
import { awkwardService } from '../helpers/service-spec.js';
import { standIn, type StandIn } from '../helpers/stand-in.js';
import { findings, modelFiles, signal, testWorld } from './test-context.js';

// --- machine

test('an Intel Node translated by Rosetta fails with the way out', async () => {
  const world = testWorld({
    exec: () => Promise.resolve({ exitCode: 0, stdout: '1\n', stderr: '' }),
  });
  const mac = { ...world, host: { ...world.host, platform: 'darwin' as const, arch: 'x64' } };
  expect(await findings('machine.chip', mac)).toMatchObject([
    { id: 'machine.rosetta', severity: 'fail', hint: expect.stringContaining('brew') as string },
  ]);
});

test.each([
  ['20.19.0', 'info'],
  ['21.7.3', 'info'],
  ['22.12.0', 'ok'],
  ['24.9.0', 'ok'],
])('Node %s is %s: what gets no fixes any more is said', async (nodeVersion, severity) => {
  const world = testWorld();
  const there = { ...world, host: { ...world.host, nodeVersion } };
  expect(await findings('machine.node', there)).toMatchObject([{ severity }]);
});

test('a Node that is too old fails', async () => {
  const world = testWorld();
  const old = { ...world, host: { ...world.host, nodeVersion: '20.18.1' } };
  expect(await findings('machine.node', old)).toMatchObject([{ severity: 'fail' }]);
});

test('a home below a file fails, and says where it should go instead', async () => {
  const world = testWorld();
  writeFileSync(join(world.home.home, 'file'), '');
  const home = { ...world.home, home: join(world.home.home, 'file', 'home') };
  expect(await findings('disk.free', { ...world, home })).toMatchObject([
    { id: 'disk.home', severity: 'fail', hint: expect.stringContaining('FLASHMOE_HOME') as string },
  ]);
});

// --- engine and toolchain

const selfTest = { ok: true, backend: 'cpu', isa: 'scalar', checks: [] };

test('with a working addon the engine is ok and no compiler is tried', async () => {
  const world = testWorld({
    addonPaths: [process.execPath],
    probeAddon: (): Promise<ProbeResult> => Promise.resolve({ ok: true, selfTest }),
    exec: () => Promise.reject(new Error('nothing should be run')),
  });
  expect(await findings('engine.addon', world)).toMatchObject([{ severity: 'ok' }]);
  expect(await findings('toolchain', world)).toMatchObject([{ severity: 'skip' }]);
});

test('a binary that is none fails through a real child, and names the file', async () => {
  const world = testWorld({
    probeAddon: (path, at) => probeAddon(path, process.execPath, at),
  });
  const path = join(world.home.home, 'broken.node');
  writeFileSync(path, 'not a binary');
  const [finding] = await findings('engine.addon', { ...world, addonPaths: [path] });
  expect(finding).toMatchObject({ severity: 'fail', hint: 'flashmoe setup' });
  expect(finding?.title).toContain(path);
});

test('an engine that is not built is news before setup and a failure after it', async () => {
  const complete = [modelFiles('m', '/nowhere')];
  const after = testWorld({
    models: () => Promise.resolve({ complete, unfinished: [], unreadable: [] }),
  });
  expect(await findings('engine.addon', testWorld())).toMatchObject([{ severity: 'info' }]);
  expect(await findings('engine.addon', after)).toMatchObject([{ severity: 'fail' }]);
});

test('where the engine must be built, a missing compiler fails with the command that installs it', async () => {
  const world = testWorld({
    exec: (program) =>
      Promise.resolve({ exitCode: program === 'apt-get' ? 0 : null, stdout: '', stderr: '' }),
  });
  const linux = { ...world, host: { ...world.host, platform: 'linux' as const } };
  const found = await findings('toolchain', linux);
  expect(found[0]).toMatchObject({ id: 'toolchain.compiler', severity: 'fail' });
  expect(found[0]?.hint).toContain('apt-get install');
});

// --- models

const BIG = { id: 'big', state: 'paused', why: 'it was interrupted', next: 'flashmoe setup big' };

function worldWithModel(): DoctorContext {
  const world = testWorld();
  const root = join(world.home.models, 'tiny');
  mkdirSync(join(root, 'packed_experts'), { recursive: true });
  const files = ['model_weights.bin', 'packed_experts/layer_00.bin'].map((path) => {
    writeFileSync(join(root, path), Buffer.alloc(100));
    return { path, size: 100 };
  });
  const complete = [modelFiles('tiny', root, files)];
  return {
    ...world,
    models: () => Promise.resolve({ complete, unfinished: [BIG], unreadable: [] }),
  };
}

test('whole models are ok, and a setup that was begun is named', async () => {
  expect(await findings('models.files', worldWithModel())).toMatchObject([
    { severity: 'ok', title: expect.stringContaining('2 files') as string },
    {
      ...{ id: 'models.unfinished', severity: 'info', hint: 'flashmoe setup big' },
      title: 'big is paused: it was interrupted',
    },
  ]);
});

test('a missing and a short file are told apart', async () => {
  const world = worldWithModel();
  const root = join(world.home.models, 'tiny');
  truncateSync(join(root, 'packed_experts/layer_00.bin'), 99);
  expect((await findings('models.files', world))[0]).toMatchObject({
    severity: 'fail',
    title: 'tiny: packed_experts/layer_00.bin has 99 bytes instead of 100',
  });
  rmSync(join(root, 'model_weights.bin'));
  expect((await findings('models.files', world))[0]?.title).toBe(
    'tiny: model_weights.bin is missing, and 1 more',
  );
});

// --- service, through the stand-in launchctl

async function worldWithService(): Promise<{ world: DoctorContext; mac: StandIn; path: string }> {
  const mac = standIn('launchctl', { gui: 1 });
  onTestFinished(() => mac.dispose());
  const pace = { intervalMs: 5, attempts: 5 };
  const host = { homeDirectory: mac.home, userId: 501, env: mac.env };
  const manager = await launchdManager(host, signal, pace);
  if (!manager) throw new Error('the stand-in did not answer');
  const service = awkwardService(mac.root);
  const program = join(mac.root, 'main.js');
  writeFileSync(program, 'setInterval(() => {}, 1000);');
  service.command = [process.execPath, program, 'serve'];
  const world = testWorld({ serviceManager: () => Promise.resolve(manager), service });
  return { world, mac, path: manager.definitionPath(service.label) };
}

test('without a manager the service is skipped; without a definition it is news', async () => {
  const states = async (of: DoctorContext): Promise<string[]> =>
    (await findings('service', of)).map(({ severity }) => severity);
  expect(await states(testWorld())).toEqual(['skip', 'skip', 'ok', 'ok']);
  const { world } = await worldWithService();
  expect(await findings('service', world)).toMatchObject([
    { severity: 'info', hint: 'flashmoe service install' },
    { severity: 'info' },
    { severity: 'ok' },
    { severity: 'ok' },
  ]);
});

test('a service that runs as this version would write it is ok', async () => {
  const { world } = await worldWithService();
  await (await world.serviceManager(signal))?.install(world.service, signal);
  const found = await findings('service', world);
  expect(found.map(({ severity }) => severity)).toEqual(['ok', 'ok', 'ok', 'ok']);
});

test('a definition that names a versioned Homebrew path fails, with the path', async () => {
  const { world, path } = await worldWithService();
  await (await world.serviceManager(signal))?.install(world.service, signal);
  const text = readFileSync(path, 'utf8');
  writeFileSync(path, text.replace(process.execPath, '/opt/homebrew/Cellar/node/24.9.0/bin/node'));
  expect(await findings('service.definition', world)).toMatchObject([
    {
      id: 'service.cellar_path',
      severity: 'fail',
      title: expect.stringContaining('/opt/homebrew/Cellar/node/24.9.0/bin/node') as string,
    },
  ]);
});

test('an edited definition is a warning', async () => {
  const { world, path } = await worldWithService();
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, '<plist/>');
  expect(await findings('service.definition', world)).toMatchObject([
    { id: 'service.outdated', severity: 'warn' },
  ]);
});

test('a service that launchd could not start fails with its last status', async () => {
  const { world } = await worldWithService();
  world.service.command = ['/nowhere/node'];
  await (await world.serviceManager(signal))?.install(world.service, signal);
  expect(await findings('service', world)).toMatchObject([
    { id: 'service.program', severity: 'fail' },
    { severity: 'fail', title: expect.stringContaining('78') as string },
    { severity: 'ok' },
    { severity: 'ok' },
  ]);
});

test('a service on demand that waits is news; one for the login that was stopped can be started', async () => {
  const { world } = await worldWithService();
  const manager = await world.serviceManager(signal);
  await manager?.install({ ...world.service, start: 'demand' }, signal);
  expect((await findings('service', world)).slice(0, 2)).toMatchObject([
    { severity: 'ok' },
    { severity: 'info' },
  ]);
  await manager?.install(world.service, signal);
  await manager?.stop(world.service.label, signal);
  expect(await findings('service.state', world)).toMatchObject([
    { severity: 'warn', fix: { command: ['flashmoe', 'service', 'start'], safe: true } },
  ]);
});

test('a service of Homebrew beside our own fails, alone it is news', async () => {
  const { world, mac } = await worldWithService();
  const host = { ...world.host, platform: 'darwin' as const, homeDirectory: mac.home };
  const plist = join(mac.home, 'Library/LaunchAgents/homebrew.mxcl.flashmoe.plist');
  mkdirSync(dirname(plist), { recursive: true });
  writeFileSync(plist, '<plist/>');
  const there = { ...world, host };
  expect(await findings('service.homebrew', there)).toMatchObject([{ severity: 'info' }]);
  await (await world.serviceManager(signal))?.install(world.service, signal);
  expect(await findings('service.homebrew', there)).toMatchObject([
    { severity: 'fail', hint: 'brew services stop flashmoe' },
  ]);
});

test('crash logs that grew long are a warning', async () => {
  const world = testWorld();
  mkdirSync(dirname(world.service.stderrPath), { recursive: true });
  writeFileSync(world.service.stderrPath, Buffer.alloc(6e6));
  expect(await findings('service.log', world)).toMatchObject([{ severity: 'warn' }]);
});

// --- server

async function worldWithServer(status: number, body: string): Promise<DoctorContext> {
  const http = createServer((_, response) => response.writeHead(status).end(body));
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void http.close());
  const { port } = http.address() as AddressInfo;
  return testWorld({ port, portOwner: () => Promise.resolve('node (pid 7)') });
}

test.each([
  [200, '{"status":"ok","model":"tiny"}', 'server.health', 'ok', /answers with tiny/],
  [503, '{"status":"loading","model":"tiny"}', 'server.health', 'info', /is loading tiny/],
  [
    503,
    '{"status":"error","model":null,"error":{"message":"layer_03.bin"}}',
    'server.health',
    'fail',
    /layer_03/,
  ],
  [200, '<html>hello</html>', 'server.port', 'fail', /node \(pid 7\)/],
  [200, '{"status":"ok"}', 'server.port', 'fail', /not a flashmoe server/],
  [200, '{"status":"ok","model":"a\\u001b[31m"}', 'server.health', 'ok', /with a \[31m$/],
  [200, '[]', 'server.port', 'fail', /not a flashmoe server/],
])('a port that answers %i %j is judged: %s, %s', async (code, body, id, severity, title) => {
  const [finding] = await findings('server', await worldWithServer(code, body));
  expect(finding).toMatchObject({ id, severity, title: expect.stringMatching(title) as string });
});

test('an answer without end is cut off and is no flashmoe server', async () => {
  const world = await worldWithServer(200, `{"status":"ok","x":"${'x'.repeat(100_000)}"}`);
  expect(await findings('server', world)).toMatchObject([{ id: 'server.port', severity: 'fail' }]);
});

test('a port nobody listens on is news; one that does not speak HTTP is a stranger', async () => {
  const socket = createSocket((client) => client.end('SSH-2.0\r\n', () => client.destroy()));
  await new Promise<void>((resolve) => socket.listen(0, '127.0.0.1', resolve));
  const { port } = socket.address() as AddressInfo;
  expect(await findings('server', testWorld({ port }))).toMatchObject([
    { id: 'server.port', severity: 'fail' },
  ]);
  await new Promise((resolve) => socket.close(resolve));
  expect(await findings('server', testWorld({ port }))).toMatchObject([
    { id: 'server.health', severity: 'info' },
  ]);
});

// --- hub

function worldWithEnv(env: Record<string, string>): DoctorContext {
  const world = testWorld();
  return { ...world, host: { ...world.host, env } };
}

const REFUSED = { state: 'refused', status: 401 } as const;

test('the token is named by its source only, and a proxy without its password', async () => {
  const world = worldWithEnv({
    HF_TOKEN: 'hf_verysecretvalue',
    HTTPS_PROXY: 'http://me:password@proxy.example:3128',
  });
  const refusing = { ...world, tokenVerdict: () => Promise.resolve(REFUSED) };
  const found = await findings('hub', refusing);
  expect(found).toContainEqual(
    expect.objectContaining({ id: 'hub.token_valid', severity: 'fail' }) as unknown,
  );
  expect(found.map(({ title }) => title).join()).toContain('HF_TOKEN');
  expect(found.map(({ title }) => title).join()).toContain('proxy.example:3128');
  expect(JSON.stringify(found)).not.toMatch(/verysecret|password/);
});

test('a token on the way to a plain http endpoint is a warning', async () => {
  const world = worldWithEnv({ HF_TOKEN: 'hf_x', HF_ENDPOINT: 'http://hub.example' });
  expect(await findings('hub.endpoint', world)).toMatchObject([
    { severity: 'ok' },
    { id: 'hub.plain_http', severity: 'warn' },
  ]);
});

test('a variable that makes no sense is a failure that names it', async () => {
  const world = worldWithEnv({ HF_ENDPOINT: 'ftp://hub.example' });
  const found = await findings('hub', world);
  expect(found.filter(({ severity }) => severity === 'fail')).toHaveLength(4);
  expect(found[0]?.title).toContain('HF_ENDPOINT');
});

test('a hub that does not answer is a warning that says why, and one that does is timed', async () => {
  const answer = { endpoint: 'https://hub.example', milliseconds: 31.4 };
  const worldOf = (problem: string | null): DoctorContext => ({
    ...testWorld(),
    hubAnswer: () => Promise.resolve({ ...answer, problem, hint: null }),
  });
  expect(await findings('hub.answers', worldOf(null))).toMatchObject([
    { severity: 'ok', title: 'hub.example answers, in 31 ms' },
  ]);
  expect(await findings('hub.answers', worldOf('the host name was not found'))).toMatchObject([
    { severity: 'warn', title: 'hub.example does not answer: the host name was not found' },
  ]);
});

test('offline is said', async () => {
  const found = await findings('hub.endpoint', worldWithEnv({ HF_HUB_OFFLINE: '1' }));
  expect(found).toMatchObject([{ id: 'hub.offline', severity: 'info' }]);
});
