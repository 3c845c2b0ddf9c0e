import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { ServiceManager } from '../../src/service.js';
import { systemdManager } from '../../src/systemd/index.js';
import { parseShow } from '../../src/systemd/systemctl.js';
import { AWKWARD, awkwardService } from '../helpers/service-spec.js';
import { standIn, type StandIn } from '../helpers/stand-in.js';

const signal = new AbortController().signal;
const label = 'dev.flashmoe.test';
let linux: StandIn;

beforeEach(() => {
  linux = standIn('systemctl', { bus: 1 });
});
afterEach(() => linux.dispose());

async function manager(env: Record<string, string> = {}): Promise<ServiceManager> {
  const host = { homeDirectory: linux.home, env: { ...linux.env, ...env } };
  const found = await systemdManager(host, signal);
  if (!found) throw new Error('the stand-in did not answer');
  return found;
}

test('where no user manager runs there is no manager', async () => {
  linux.set({ bus: null });
  expect(await systemdManager({ homeDirectory: linux.home, env: linux.env }, signal)).toBeNull();
});

test('install writes the unit, starts it with exactly its arguments, and reports its pid', async () => {
  const spec = awkwardService(linux.root);
  const status = await (await manager()).install(spec, signal);
  expect(status).toMatchObject({ manager: 'systemd', installed: true, running: true });
  expect(status.definitionPath).toBe(join(linux.home, `.config/systemd/user/${label}.service`));
  expect(status.detail).toContain('starts at login');
  const said = await vi.waitFor(
    () => JSON.parse(readFileSync(spec.stdoutPath, 'utf8')) as Record<string, unknown>,
  );
  expect(said).toMatchObject({
    argv: AWKWARD,
    cwd: spec.workingDirectory,
    marker: spec.environment['MARKER'],
  });
});

test('installing a changed service runs the changed one', async () => {
  const service = await manager();
  const first = await service.install(awkwardService(linux.root), signal);
  const stdoutPath = join(linux.root, 'second.log');
  const second = await service.install(awkwardService(linux.root, { stdoutPath }), signal);
  expect(second.pid).not.toBe(first.pid);
  await vi.waitFor(() => expect(readFileSync(stdoutPath, 'utf8')).toContain('argv'));
});

test('a start that fails is an error with what systemctl said', async () => {
  const spec = awkwardService(linux.root, { command: ['/nowhere/node'] });
  await expect((await manager()).install(spec, signal)).rejects.toMatchObject({
    code: 'ERR_SERVICE',
    message: expect.stringContaining('failed because the control process') as string,
  });
});

test('uninstall stops the unit and removes its file, and doing it twice is fine', async () => {
  const service = await manager();
  const { definitionPath } = await service.install(awkwardService(linux.root), signal);
  for (let round = 0; round < 2; round += 1) {
    const status = await service.uninstall(label, signal);
    expect(status).toMatchObject({ installed: false, running: false, detail: 'not installed' });
  }
  expect(existsSync(definitionPath ?? '')).toBe(false);
});

test('the unit goes below XDG_CONFIG_HOME, unless that is relative and so invalid', async () => {
  const config = join(linux.root, 'config');
  const moved = await manager({ XDG_CONFIG_HOME: config });
  expect(moved.definitionPath(label)).toBe(join(config, `systemd/user/${label}.service`));
  const relative = await manager({ XDG_CONFIG_HOME: 'config' });
  expect(relative.definitionPath(label)).toContain(linux.home);
});

test.each([
  ['MainPID=7\nExecMainStatus=0\nExecMainExitTimestampMonotonic=0\nActiveState=active', 7, null],
  ['MainPID=0\nExecMainStatus=1\nExecMainExitTimestampMonotonic=99\nActiveState=failed', null, 1],
  ['', null, null],
])('%j is read for pid and the last exit code', (text, pid, lastExitCode) => {
  expect(parseShow(text)).toMatchObject({ pid, lastExitCode });
});

test('stop, start and restart do what they say, and a second start leaves the process alone', async () => {
  const service = await manager();
  const first = await service.install(awkwardService(linux.root), signal);
  expect(await service.stop(label, signal)).toMatchObject({ installed: true, running: false });
  const started = await service.start(label, signal);
  expect(started.pid).not.toBe(first.pid);
  expect((await service.start(label, signal)).pid).toBe(started.pid);
  expect((await service.restart(label, signal)).pid).not.toBe(started.pid);
});

test('a unit on demand does not start at login, and waits until it is started', async () => {
  const service = await manager();
  await service.install(awkwardService(linux.root), signal);
  const waiting = await service.install(awkwardService(linux.root, { start: 'demand' }), signal);
  expect(waiting).toMatchObject({ installed: true, running: false });
  expect(waiting.detail).toContain('does not start at login');
  expect((await service.start(label, signal)).running).toBe(true);
});

test.each(['start', 'stop', 'restart'] as const)(
  '%s without a unit says how to get one',
  async (order) => {
    await expect((await manager())[order](label, signal)).rejects.toMatchObject({
      code: 'ERR_SERVICE',
      hint: 'flashmoe service install',
    });
  },
);
