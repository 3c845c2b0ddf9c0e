import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { hostname, tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { applyFixes } from '../../src/cli/commands/doctor-fix.js';
import type { CliContext } from '../../src/cli/context.js';
import type { Finding } from '../../src/doctor/finding.js';
import { currentHost } from '../../src/base/host.js';
import { BUILD_MS, buildCli, flashmoe, type CliResult } from '../helpers/built-cli.js';

beforeAll(buildCli, BUILD_MS);

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'flashmoe-doctor-cli-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const doctor = (args: string[], env: Record<string, string> = {}): Promise<CliResult> =>
  flashmoe(['doctor', ...args], {
    env: { HOME: root, FLASHMOE_HOME: join(root, '.flashmoe'), ...env },
  });

test('--list names every check, also as JSON', async () => {
  const { stdout } = await doctor(['--list']);
  for (const id of ['machine.os', 'disk.read', 'models.answers', 'power.sleep']) {
    expect(stdout).toContain(id);
  }
  const { checks } = JSON.parse((await doctor(['--list', '--json'])).stdout) as {
    checks: { id: string; title: string }[];
  };
  expect(checks.length).toBeGreaterThan(15);
});

test('a warning is no failure, with --strict it is; a failure always is', async () => {
  const plain = { HF_TOKEN: 'hf_x', HF_ENDPOINT: 'http://hub.example' };
  const only = ['--only', 'hub.endpoint'];
  expect((await doctor(only, plain)).status).toBe(0);
  expect((await doctor([...only, '--strict'], plain)).status).toBe(1);
  expect((await doctor(only, { HF_ENDPOINT: 'ftp://hub.example' })).status).toBe(1);
});

test('--json is one event with a schema version and nothing else on stdout', async () => {
  const { stdout } = await doctor(['--only', 'machine', '--json']);
  expect(stdout.trimEnd().split('\n')).toHaveLength(1);
  expect(JSON.parse(stdout)).toMatchObject({ event: 'doctor', schema: 1, ok: true });
});

test('--report writes a file without home, names and token, and says where', async () => {
  const token = 'hf_abcdefghijklmnop';
  const args = ['--only', 'hub.token', 'disk.free', 'server', '--report'];
  const { stderr } = await doctor(args, { HF_TOKEN_PATH: join(root, token), HF_TOKEN: token });
  const path = /report without names and secrets: (\S+)/.exec(stderr)?.[1] ?? '';
  const text = readFileSync(path, 'utf8');
  expect(JSON.parse(text)).toMatchObject({ schema: 1, machine: { arch: process.arch } });
  expect(text).not.toContain(root);
  expect(text).not.toContain(token);
  expect(text).not.toContain(hostname());
  expect(text).not.toMatch(new RegExp(`[^\\w<-]${userInfo().username}[^\\w>-]`));
  const chosen = join(root, 'mine.json');
  expect((await doctor(['--only', 'machine', '--report', chosen])).stderr).toContain(chosen);
  expect(existsSync(chosen)).toBe(true);
});

test('--sim answers for another machine, and refuses words that are none', async () => {
  const { stdout, status } = await doctor(['--sim', 'm4-pro-48']);
  expect(status).toBe(0);
  expect(stdout).toMatch(/^M4 Pro with 48\.0 GiB of memory/);
  expect(stdout).toMatch(/qwen3\.5-397b\n {2}4 bits {2}runs from the SSD, about .* tokens\/s/);
  const json = JSON.parse((await doctor(['--sim', 'ram=16,disk=512', '--json'])).stdout) as object;
  expect(json).toMatchObject({ event: 'simulation', schema: 1, machine: { freeBytes: 512e9 } });
  expect((await doctor(['--sim', 'toaster'])).status).toBe(64);
});

// --- --fix, with a program that records what it was called with

interface Told {
  context: CliContext;
  notes: string[];
}

function told(change: Partial<CliContext> = {}): Told {
  const notes: string[] = [];
  const context = {
    host: currentHost(),
    json: false,
    homeOption: null,
    signal: new AbortController().signal,
    stdin: { isTTY: false },
    stderr: { isTTY: false },
    note: (line: string) => void notes.push(line),
    ...change,
  } as unknown as CliContext;
  return { context, notes };
}

function fixable(safe: boolean): { finding: Finding; calls: string } {
  const calls = join(root, 'calls');
  const program = join(root, 'recorder');
  mkdirSync(root, { recursive: true });
  writeFileSync(program, `#!/bin/sh\necho "$@" >>'${calls}'\n`);
  chmodSync(program, 0o755);
  const fix = { what: 'leave it out', command: [program, 'addexclusion', 'a b'] as const, safe };
  return { finding: { id: 'disk.x', severity: 'warn', title: 'x', fix: { ...fix } }, calls };
}

test('without a terminal and without --yes nothing is done, but what would be is said', async () => {
  const { finding, calls } = fixable(true);
  const { context, notes } = told();
  await expect(applyFixes(context, [finding], false)).rejects.toMatchObject({
    code: 'ERR_CONFIRM_NEEDED',
  });
  expect(notes.join()).toContain('would leave it out');
  expect(existsSync(calls)).toBe(false);
});

test('--yes does what is safe and leaves what is not', async () => {
  const safe = fixable(true);
  await applyFixes(told().context, [safe.finding], true);
  expect(readFileSync(safe.calls, 'utf8')).toBe('addexclusion a b\n');
  rmSync(safe.calls);
  const unsafe = fixable(false);
  const { context, notes } = told();
  await applyFixes(context, [unsafe.finding], true);
  expect(existsSync(unsafe.calls)).toBe(false);
  expect(notes.join()).toContain('needs to be asked for');
});

test('a remedy that fails is an error with its command', async () => {
  const { finding } = fixable(true);
  if (finding.fix) finding.fix.command = ['/bin/false'];
  await expect(applyFixes(told().context, [finding], true)).rejects.toMatchObject({
    code: 'ERR_IO',
    hint: '/bin/false',
  });
});
