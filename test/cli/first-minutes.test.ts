// What people type in the first minutes, and read: with an empty home, with the bundled model, with a server that runs.

import { spawn, type ChildProcess } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { BUILD_MS, buildCli, flashmoe, mainScript } from '../helpers/built-cli.js';

vi.setConfig({ testTimeout: 120_000 });

const home = mkdtempSync(join(tmpdir(), 'flashmoe-first-'));
const empty = join(home, 'nothing');
const env = { FLASHMOE_HOME: home, HF_ENDPOINT: 'http://127.0.0.1:9' };
const at = (...args: string[]) => flashmoe(args, { env });
const inEmpty = (...args: string[]) => flashmoe(args, { env: { ...env, FLASHMOE_HOME: empty } });
let server: ChildProcess;
let log = '';
let port = 0;

function startServer(more: Record<string, string>): Promise<ChildProcess> {
  const child = spawn(process.execPath, [mainScript, 'serve', 'tiny', '--port', '0'], {
    env: { ...process.env, ...env, ...more },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  return new Promise((ready, fail) => {
    child.stderr.on('data', (chunk) => {
      log += String(chunk);
      port = Number(/listening on http:\/\/127\.0\.0\.1:(\d+)/.exec(log)?.[1] ?? 0);
      if (/model tiny ready/.test(log)) ready(child);
    });
    child.once('close', () => fail(new Error(log)));
  });
}

beforeAll(async () => {
  await buildCli();
  const setup = await at('setup', 'tiny', '--yes', '--no-service');
  expect(setup.status, setup.stderr).toBe(0);
  server = await startServer({ FLASHMOE_API_KEY: 'secret' });
  await at('config', 'set', 'port', String(port));
}, BUILD_MS + 120_000);
afterAll(() => {
  server.kill('SIGTERM');
  rmSync(home, { recursive: true, force: true });
});

describe('a prompt', () => {
  test.each([
    [['run', 'tiny', 'What is 347 + 285?']],
    [['run', 'What is 347 + 285?']],
    [['run', '--model', 'tiny', 'What is 347 + 285?']],
  ])('flashmoe %j is answered', async (args) => {
    const { stdout, stderr } = await at(...args, '--temperature', '0');
    expect(stdout, stderr).toBe('632\n');
  });

  test('a model alone is no prompt, and neither is one that is not here', async () => {
    expect(await at('run', 'tiny')).toMatchObject({ status: 64, stdout: '' });
    const other = await at('run', 'kimi-k2', 'hi');
    expect(other).toMatchObject({ status: 1, stdout: '' });
    expect(other.stderr).toContain('kimi-k2 is not set up here; here are tiny');
  });
});

describe('a port that is taken', () => {
  test.each([[['serve']], [['serve', 'tiny']], [['serve', '--model', 'tiny']]])(
    'by a server of ours is served already, whatever its key: flashmoe %j',
    async (args) => {
      const { status, stderr } = await at(...args);
      expect(status).toBe(69);
      expect(stderr).toContain(`already serving tiny at http://127.0.0.1:${port}/`);
      expect(stderr).toContain('`flashmoe chat` talks to it');
    },
  );

  test('by another program is named as that', async () => {
    const other = await new Promise<Server>((ready) => {
      const made = createServer((_, answer) => answer.end('{"status":"ok"}'));
      made.listen(0, '127.0.0.1', () => ready(made));
    });
    const { port: taken } = other.address() as AddressInfo;
    const { status, stderr } = await at('serve', '--port', String(taken));
    other.close();
    expect(status).toBe(69);
    expect(stderr).toContain(`port ${taken} on 127.0.0.1 is in use by`);
    expect(stderr).not.toContain('already serving');
  });
});

test('what the page asks for again and again is not in the log, what a person asks is', async () => {
  const headers = { authorization: 'Bearer secret' };
  for (const path of ['/', '/status', '/health', '/v1/models']) {
    await fetch(`http://127.0.0.1:${port}${path}`, { headers });
  }
  const refused = await fetch(`http://127.0.0.1:${port}/v1/chat/completions`, { method: 'POST' });
  expect(refused.status).toBe(401);
  await vi.waitFor(() => expect(log).toContain('/v1/chat/completions 401'));
  expect(log).not.toMatch(/\/status|\/health/);
});

test('a model that is not whole is named by what is missing, with the command that goes on', async () => {
  const half = join(home, 'half');
  // All but the lock of the server that has it open.
  cpSync(join(home, 'models'), join(half, 'models'), {
    recursive: true,
    filter: (path) => !path.endsWith('.lock'),
  });
  rmSync(join(half, 'models', 'tiny', 'manifest.json'));
  for (const args of [['run', 'hi'], ['run', 'tiny', 'hi'], ['chat'], ['bench', 'tiny']]) {
    const { status, stderr } = await flashmoe(args, { env: { ...env, FLASHMOE_HOME: half } });
    expect(status).toBe(1);
    expect(stderr).toBe(
      'tiny is packed, its last files are not written\n\nhint: flashmoe setup tiny\n',
    );
  }
});

test('report is for people: what ran, how fast, what to do next', async () => {
  const { status, stdout } = await at('report');
  expect(status).toBe(0);
  expect(stdout).toMatch(/^tiny: 1 run, finished$/m);
  expect(stdout).toContain("next: flashmoe run --model tiny 'Who are you?'");
  expect(stdout).not.toMatch(/ERR_|undefined|null|NaN/);
  // However long nobody was at work, a line says it.
  expect(stdout.split('nobody at work').length).toBeLessThanOrEqual(2);
});

test('config get says what holds where nothing is set, and prints no value', async () => {
  const { status, stdout, stderr } = await at('config', 'get', 'keepAliveMinutes');
  expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
  expect(stderr).toMatch(/^keepAliveMinutes is not set; its default is \d+$/m);
});

// Each with what tells a newcomer what to type next.
describe('with an empty home', () => {
  test.each([
    [['list'], 'begin with: flashmoe setup'],
    [['ps'], 'flashmoe serve'],
    [['run', 'hi'], 'flashmoe setup'],
    [['run', 'tiny', 'hi'], 'flashmoe setup tiny'],
    [['chat'], 'flashmoe setup'],
    [['show', 'tiny'], 'flashmoe plan tiny'],
    [['use', 'tiny'], 'flashmoe setup tiny'],
    [['verify'], 'flashmoe setup'],
    [['bench'], 'flashmoe setup'],
    [['report'], 'flashmoe setup'],
    [['attach'], 'flashmoe setup'],
    [['update'], 'flashmoe setup'],
    [['connect', 'codex'], 'flashmoe setup'],
    [['pull'], 'flashmoe models'],
    [['pull', 'qwen'], 'qwen3.5-35b'],
    [['rm', 'tinyy'], 'flashmoe status'],
    [['models'], 'try it first'],
    [['models'], 'licence: see the repository'],
  ])('flashmoe %j leads on', async (args, next) => {
    const { stdout, stderr } = await inEmpty(...args);
    const text = stdout + stderr;
    expect(text).toContain(next);
    expect(text).not.toMatch(/\bERR_|\bat .*:\d+:\d+|undefined|\[object|ENOENT/);
  });
});
