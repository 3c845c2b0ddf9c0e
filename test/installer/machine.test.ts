import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Exec } from '../../src/base/exec.js';
import { currentHost } from '../../src/base/host.js';
import type { InstallEvent } from '../../src/jobs/events.js';
import { checkMachine, type MachineTask } from '../../src/installer/steps/machine.js';

let folder: string;
let events: InstallEvent[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fm-machine-'));
  events = [];
});
afterEach(() => rm(folder, { recursive: true }));

function task(change: Partial<MachineTask> = {}): MachineTask {
  return {
    emit: (event) => events.push(event),
    signal: new AbortController().signal,
    home: join(folder, 'home'),
    host: currentHost(),
    ...change,
  };
}

const found = (id: string) =>
  events.find((event) => event.type === 'finding' && event.id === id) as
    Extract<InstallEvent, { type: 'finding' }> | undefined;

/** A Mac as these programs answer there; what is not listed is not found. */
function mac(answers: Record<string, { exitCode: number; stdout?: string }>): Exec {
  return (program, args) => {
    const key = [program, ...args].join(' ');
    const name = Object.keys(answers).find((start) => key.startsWith(start) || key.endsWith(start));
    const answer = name === undefined ? undefined : answers[name];
    return Promise.resolve({
      exitCode: answer?.exitCode ?? null,
      stdout: answer?.stdout ?? '',
      stderr: '',
    });
  };
}
const macHost = { ...currentHost(), platform: 'darwin' as const, arch: 'arm64', env: {} };

describe('the machine check', () => {
  it('on this machine compiles a real line and reports chip, memory, Node and disk', async () => {
    await checkMachine(task());
    expect(events[0]).toEqual({ type: 'step', step: 'machine', status: 'started' });
    expect(events.at(-1)).toMatchObject({ type: 'step', step: 'machine', status: 'done' });
    for (const id of ['machine.chip', 'machine.node', 'disk.free', 'toolchain.compiler']) {
      // Node 20 works, and is told of.
      const severity = expect.stringMatching(
        id === 'machine.node' ? /^(ok|info)$/ : /^ok$/,
      ) as string;
      expect(found(id)).toMatchObject({ severity });
    }
    expect(found('disk.free')?.title).toMatch(/free for .*home$/);
  });

  it('names the compiler that does not compile, and the command that installs one', async () => {
    const host = { ...currentHost(), platform: 'linux' as const, env: { CXX: 'false' } };
    await checkMachine(task({ host }));
    expect(found('toolchain.compiler')).toMatchObject({
      severity: 'warn',
      title: 'the C++ compiler false does not compile a line of C++20',
    });
    const missing = { ...host, env: { CXX: 'no-such-compiler' } };
    events = [];
    await checkMachine(task({ host: missing }));
    expect(found('toolchain.compiler')).toMatchObject({
      title: 'the C++ compiler no-such-compiler is missing',
      hint: expect.stringContaining('install') as string,
    });
  });

  it('stops before anything else when the home lies below a file', async () => {
    await writeFile(join(folder, 'file'), '');
    const home = join(folder, 'file', 'home');
    await expect(checkMachine(task({ home }))).rejects.toMatchObject({
      code: 'ERR_HOME',
      message: expect.stringContaining(home) as string,
      hint: expect.stringContaining('--home') as string,
    });
    expect(events.at(-1)).toMatchObject({ step: 'machine', status: 'failed' });
  });

  it('stops on a Node that is too old, naming both versions', async () => {
    const host = { ...currentHost(), nodeVersion: '20.18.3' };
    await expect(checkMachine(task({ host }))).rejects.toThrow(/20\.18\.3 .* 20\.19/);
  });

  it('stops on a Mac where Node runs translated', async () => {
    const exec = mac({ 'sysctl -n sysctl.proc_translated': { exitCode: 0, stdout: '1\n' } });
    await expect(
      checkMachine(task({ host: { ...macHost, arch: 'x64' }, exec })),
    ).rejects.toMatchObject({
      message: expect.stringContaining('Rosetta') as string,
      hint: expect.stringContaining('brew install node') as string,
    });
  });

  it('on a Mac without Command Line Tools says how to get them and does not ask Metal', async () => {
    await checkMachine(task({ host: macHost, exec: mac({}) }));
    expect(found('toolchain.compiler')).toMatchObject({
      severity: 'warn',
      hint: expect.stringContaining('xcode-select --install') as string,
    });
    expect(found('metal.device')).toBeUndefined();
  });

  it('on a Mac names the Metal device that answered, or warns that none did', async () => {
    const tools = { 'clang++': { exitCode: 0 }, clang: { exitCode: 0 }, make: { exitCode: 0 } };
    const answers = { ...tools, '/probe': { exitCode: 0, stdout: 'Apple M4 Pro\n' } };
    await checkMachine(task({ host: macHost, exec: mac(answers) }));
    expect(found('metal.device')).toMatchObject({ severity: 'ok', title: 'Metal: Apple M4 Pro' });

    events = [];
    let runs = 0;
    const exec: Exec = (program, args, options) => {
      // The C++ line runs; the Metal program, compiled after it, finds no device.
      if (program.endsWith('/probe')) runs += 1;
      const exitCode = program.endsWith('/probe') && runs === 2 ? 3 : 0;
      return mac({ ...tools, '/probe': { exitCode } })(program, args, options);
    };
    await checkMachine(task({ host: macHost, exec }));
    expect(found('metal.device')).toMatchObject({ severity: 'warn' });
  });
});
