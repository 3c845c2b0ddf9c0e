import { chmodSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { launchdManager } from '../../src/launchd/index.js';
import type { ServiceManager } from '../../src/service.js';
import { AWKWARD, awkwardService } from '../helpers/service-spec.js';
import { standIn, type StandIn } from '../helpers/stand-in.js';

const signal = new AbortController().signal;
const pace = { intervalMs: 5, attempts: 6 };
let mac: StandIn;

beforeEach(() => {
  mac = standIn('launchctl', { gui: 1 });
});
afterEach(() => mac.dispose());

async function manager(): Promise<ServiceManager> {
  const host = { homeDirectory: mac.home, userId: 501, env: mac.env };
  const found = await launchdManager(host, signal, pace);
  if (!found) throw new Error('the stand-in did not answer');
  return found;
}
const verbs = (): string[] => mac.calls().map((call) => call.split(' ')[0] ?? '');

test('install writes the plist, starts the job with exactly its arguments, and reports its pid', async () => {
  const spec = awkwardService(mac.root);
  const status = await (await manager()).install(spec, signal);
  expect(status).toMatchObject({ manager: 'launchd', installed: true, running: true });
  expect(status.definitionPath).toBe(
    join(mac.home, 'Library/LaunchAgents/dev.flashmoe.test.plist'),
  );
  expect(statSync(status.definitionPath ?? '').mode & 0o777).toBe(0o644);
  const said = await vi.waitFor(
    () => JSON.parse(readFileSync(spec.stdoutPath, 'utf8')) as Record<string, unknown>,
  );
  expect(said).toMatchObject({
    argv: AWKWARD,
    cwd: spec.workingDirectory,
    marker: spec.environment['MARKER'],
  });
});

test('installing again waits until the old job has gone, however slowly it dies', async () => {
  mac.set({ dying: 4 });
  const first = await (await manager()).install(awkwardService(mac.root), signal);
  const second = await (await manager()).install(awkwardService(mac.root), signal);
  expect(second.running).toBe(true);
  expect(second.pid).not.toBe(first.pid);
  const after = verbs().slice(verbs().lastIndexOf('bootout'));
  expect(after.filter((verb) => verb === 'print').length).toBeGreaterThanOrEqual(5);
});

test('a job that never dies is a bounded wait and an error, and its definition stays', async () => {
  const service = await manager();
  await service.install(awkwardService(mac.root), signal);
  mac.set({ dying: 1000 });
  await expect(service.uninstall('dev.flashmoe.test', signal)).rejects.toMatchObject({
    code: 'ERR_SERVICE',
    message: expect.stringContaining('still shutting down') as string,
  });
  expect(existsSync(service.definitionPath('dev.flashmoe.test'))).toBe(true);
});

test('status 5 from a bootstrap that comes too early is tried again', async () => {
  mac.set({ busy: 3 });
  const status = await (await manager()).install(awkwardService(mac.root), signal);
  expect(status.running).toBe(true);
  expect(verbs().filter((verb) => verb === 'bootstrap')).toHaveLength(4);
});

test('status 5 that does not go away becomes an error with what launchctl said', async () => {
  mac.set({ busy: 1000 });
  await expect((await manager()).install(awkwardService(mac.root), signal)).rejects.toMatchObject({
    code: 'ERR_SERVICE',
    message: expect.stringContaining('5: Input/output error') as string,
  });
});

test('a label that was switched off in the database is switched on first', async () => {
  mac.set({ disabled: 'dev.flashmoe.test' });
  const status = await (await manager()).install(awkwardService(mac.root), signal);
  expect(status.running).toBe(true);
});

test('without a graphical login the job goes to the user domain with a session type it takes', async () => {
  mac.set({ gui: 0 });
  const service = await manager();
  const status = await service.install(awkwardService(mac.root), signal);
  expect(status.running).toBe(true);
  expect(mac.calls()).toContain('print user/501/dev.flashmoe.test');
});

test('a program that is missing shows as status 78 with its meaning', async () => {
  const spec = awkwardService(mac.root, { command: ['/nowhere/node', 'serve'] });
  const status = await (await manager()).install(spec, signal);
  expect(status).toMatchObject({ running: false, lastExitCode: 78 });
  expect(status.detail).toContain('missing');
});

test('uninstall stops the job and removes its file, and doing it twice is fine', async () => {
  const service = await manager();
  const { definitionPath } = await service.install(awkwardService(mac.root), signal);
  for (let round = 0; round < 2; round += 1) {
    const status = await service.uninstall('dev.flashmoe.test', signal);
    expect(status).toMatchObject({ installed: false, running: false, detail: 'not installed' });
  }
  expect(existsSync(definitionPath ?? '')).toBe(false);
});

test('a file that is there but not loaded is told apart from none', async () => {
  const service = await manager();
  await service.install(awkwardService(mac.root), signal);
  mac.set({ jobs: null });
  const status = await service.status('dev.flashmoe.test', signal);
  expect(status).toMatchObject({ installed: true, running: false });
  expect(status.detail).toContain('not loaded');
});

test('an old definition that others may write to is replaced by one launchd accepts', async () => {
  const service = await manager();
  const path = service.definitionPath('dev.flashmoe.test');
  await service.install(awkwardService(mac.root), signal);
  writeFileSync(path, 'old');
  chmodSync(path, 0o666);
  chmodSync(dirname(path), 0o755);
  expect((await service.install(awkwardService(mac.root), signal)).running).toBe(true);
});

test('an interrupted wait ends at once as an interruption', async () => {
  const service = await manager();
  await service.install(awkwardService(mac.root), signal);
  mac.set({ dying: 1000 });
  const abort = new AbortController();
  const uninstall = service.uninstall('dev.flashmoe.test', abort.signal);
  await vi.waitFor(() => expect(verbs()).toContain('bootout'));
  abort.abort();
  await expect(uninstall).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
});

// --- start, stop, restart

const label = 'dev.flashmoe.test';

test('stop unloads and waits, start loads again, and a second start leaves the process alone', async () => {
  const service = await manager();
  const first = await service.install(awkwardService(mac.root), signal);
  mac.set({ dying: 2 });
  expect(await service.stop(label, signal)).toMatchObject({ installed: true, running: false });
  const started = await service.start(label, signal);
  expect(started.running).toBe(true);
  expect(started.pid).not.toBe(first.pid);
  expect((await service.start(label, signal)).pid).toBe(started.pid);
});

test('restart is a kickstart with -k, which gives a new process', async () => {
  const service = await manager();
  const first = await service.install(awkwardService(mac.root), signal);
  const second = await service.restart(label, signal);
  expect(second.running).toBe(true);
  expect(second.pid).not.toBe(first.pid);
  expect(mac.calls()).toContain(`kickstart -k gui/501/${label}`);
  await service.stop(label, signal);
  expect((await service.restart(label, signal)).running).toBe(true);
});

test('a job on demand is loaded and waits until it is started', async () => {
  const service = await manager();
  const spec = awkwardService(mac.root, { start: 'demand' });
  expect(await service.install(spec, signal)).toMatchObject({ installed: true, running: false });
  expect((await service.start(label, signal)).running).toBe(true);
});

test('a job that System Settings switched off is named so, and start switches it on', async () => {
  const service = await manager();
  await service.install(awkwardService(mac.root), signal);
  await service.stop(label, signal);
  mac.set({ disabled: label });
  expect((await service.status(label, signal)).detail).toContain('switched off in System Settings');
  expect((await service.start(label, signal)).running).toBe(true);
});

test.each(['start', 'stop', 'restart'] as const)(
  '%s without a definition says how to get one',
  async (order) => {
    await expect((await manager())[order](label, signal)).rejects.toMatchObject({
      code: 'ERR_SERVICE',
      hint: 'flashmoe service install',
    });
  },
);
