import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { BUILD_MS, buildCli, flashmoe, mainScript } from '../helpers/built-cli.js';
import type { FaultHub } from '../helpers/hub/fault-hub.js';
import { SLOW_ID, SLOW_REPO, slowDown, startSlowHub } from '../helpers/slow-hub.js';

// Each test starts several processes; a busy machine takes its time for them.
vi.setConfig({ testTimeout: 120_000 });

const folder = mkdtempSync(join(tmpdir(), 'flashmoe-cli-'));
let hub: FaultHub;
beforeAll(async () => {
  await buildCli();
  hub = await startSlowHub();
}, BUILD_MS);
afterAll(async () => {
  await hub.close();
  rmSync(folder, { recursive: true, force: true });
});

type Line = Record<string, unknown> & { event: string };

function linesOf(text: string): Line[] {
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Line);
}

function filesOf(home: string, id: string): Record<string, string> {
  const root = join(home, 'models', id);
  const names = readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.(bin|json|jinja)$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => !/(manifest|plan)\.json$/.test(path));
  return Object.fromEntries(
    names.map((path) => [
      path.slice(root.length + 1),
      createHash('sha256').update(readFileSync(path)).digest('hex'),
    ]),
  );
}

describe('setup off a terminal', () => {
  const home = join(folder, 'tiny');
  const at = (args: string[]) => flashmoe(args, { env: { FLASHMOE_HOME: home } });

  test('the bundled model is provisioned and answers; the receipt is all of stdout', async () => {
    const { status, stdout, stderr } = await at(['setup', 'tiny', '--yes']);
    expect({ status, stderr }).toMatchObject({ status: 0 });
    expect(stdout).toMatch(/tiny answers/);
    expect(stdout).toMatch(/sha256 +[0-9a-f]{64}/);
    expect(stdout).not.toContain('fetch');
    expect(stderr).toContain('fetch: model-00003-of-00003.safetensors verified (3 of 3)');
    expect(stderr).not.toContain('\u001B');
    for (const line of stdout.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
  });

  test('a second run skips what is done, says so, and gives the same receipt as NDJSON', async () => {
    const { status, stdout, stderr } = await at(['setup', '--model', 'tiny', '--json']);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const lines = linesOf(stdout);
    const steps = lines.filter(({ event }) => event === 'step');
    expect(steps).toContainEqual(expect.objectContaining({ step: 'fetch', status: 'skipped' }));
    expect(lines.at(-1)).toMatchObject({
      v: 1,
      event: 'finished',
      receipt: { model: 'tiny', quant: '4bit' },
    });
  });

  test('what was provisioned is shown, verified, asked and served', async () => {
    const status = linesOf((await at(['status', '--json'])).stdout);
    expect(status).toMatchObject([{ event: 'status', models: [{ id: 'tiny', state: 'ready' }] }]);
    expect((await at(['verify'])).stdout).toMatch(/tiny: \d+ files, .* every hash is right/);

    const run = await at(['run', '--temperature', '0', '--max-tokens', '4', '--json', 'hello']);
    expect(linesOf(run.stdout).at(-1)).toMatchObject({
      event: 'answer',
      model: 'tiny',
      reason: 'length',
      usage: { completionTokens: 4 },
    });
    const fewer = await at(['run', '--experts', '4', '--max-tokens', '2', 'hello']);
    expect(fewer.stderr).toContain(', 4 experts a token');

    const served = [mainScript, 'serve', '--port', '0', '--json', '--experts', '4'];
    const server = spawn(process.execPath, served, {
      env: { PATH: process.env['PATH'], FLASHMOE_HOME: home },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let url = '';
    for await (const line of createInterface({ input: server.stdout })) {
      const event = JSON.parse(line) as Line & { url?: string; status?: string };
      if (event.url !== undefined) url = event.url;
      if (event.event === 'model') break;
    }
    const answer = await fetch(`${url}/v1/models`);
    expect(await answer.json()).toMatchObject({ data: [{ id: 'tiny' }] });
    const props = await fetch(`${url}/props`);
    expect(await props.json()).toMatchObject({ model: { expertsPerToken: 4 } });
    const ended = once(server, 'exit');
    server.kill('SIGTERM');
    // A server that was told to stop is not a crash: service managers start those again.
    expect(await ended).toEqual([0, null]);
  });

  test('a flipped byte is found by verify, and the next setup puts it right', async () => {
    const path = join(home, 'models/tiny/packed_experts/layer_02.bin');
    const whole = readFileSync(path);
    const flipped = Buffer.from(whole);
    flipped[1000] = (flipped[1000] ?? 0) ^ 1;
    writeFileSync(path, flipped);
    const { status, stdout, stderr } = await at(['verify', 'tiny']);
    expect(status).toBe(1);
    expect(stdout).toContain('layer_02.bin its content changed');
    expect(stderr).toContain('hint: `flashmoe verify tiny --repair`');
    expect((await at(['setup', 'tiny', '--yes'])).status).toBe(0);
    expect(readFileSync(path).equals(whole)).toBe(true);
    expect((await at(['verify', 'tiny'])).status).toBe(0);
  });

  test('uninstall shows what would go, deletes it only with --yes, and leaves what is not ours', async () => {
    const dry = await at(['uninstall', '--dry-run', '--json']);
    expect(linesOf(dry.stdout)).toMatchObject([{ event: 'removal', dryRun: true, service: null }]);
    const asked = await at(['uninstall']);
    expect(asked.status).toBe(64);
    expect(asked.stderr).toContain('hint: `flashmoe uninstall --yes` deletes what is listed');
    expect(readdirSync(home)).toContain('models');
    for (const name of ['logs/my-notes.txt', 'engine/mine.node']) {
      mkdirSync(dirname(join(home, name)), { recursive: true });
      writeFileSync(join(home, name), 'mine');
    }
    const told = await at(['uninstall', '--yes']);
    expect(told.status).toBe(0);
    expect(told.stdout).toContain(`stays: ${join(home, 'logs/my-notes.txt')}, not ours`);
    expect(readdirSync(home).sort()).toEqual(['engine', 'logs']);
    expect(readdirSync(join(home, 'logs'))).toEqual(['my-notes.txt']);
    expect(readdirSync(join(home, 'engine'))).toEqual(['mine.node']);
  });
});

describe('a setup that is interrupted', () => {
  const words = ['setup', '--repo', SLOW_REPO, '--no-service'];
  const start = (home: string, extra: string[] = []) =>
    spawn(process.execPath, [mainScript, ...words, ...extra], {
      env: { PATH: process.env['PATH'], FLASHMOE_HOME: home, HF_ENDPOINT: hub.endpoint },
      stdio: ['ignore', 'pipe', 'pipe'],
    });

  test('ends with 130 and the command that resumes it, which gives the very same files', async () => {
    const home = join(folder, 'interrupted');
    const env = { FLASHMOE_HOME: home, HF_ENDPOINT: hub.endpoint };
    const child = start(home);
    let told = '';
    for await (const line of createInterface({ input: child.stderr })) {
      told += `${line}\n`;
      if (line.includes('model-00001-of-00003.safetensors verified')) child.kill('SIGINT');
    }
    expect(told).toContain('stopping; Ctrl-C again stops at once');
    expect(told).toMatch(
      /kept\n\nhint: run `flashmoe setup --repo acme\/tiny --no-service` to go on/,
    );
    expect(child.exitCode ?? (await once(child, 'exit'))[0]).toBe(130);

    const left = linesOf((await flashmoe(['status', '--json'], { env })).stdout);
    expect(left).toMatchObject([{ models: [{ id: SLOW_ID, state: 'paused' }] }]);

    hub.reset();
    const resumed = await flashmoe([...words, '--json'], { env });
    slowDown(hub);
    expect(resumed.status).toBe(0);
    const shards = linesOf(resumed.stdout).filter(({ event }) => event === 'shard');
    expect(shards).toContainEqual(
      expect.objectContaining({ shard: 'model-00001-of-00003.safetensors', status: 'skipped' }),
    );

    const straight = join(folder, 'straight');
    const whole = await flashmoe(['setup', 'tiny'], { env: { FLASHMOE_HOME: straight } });
    expect(whole.status).toBe(0);
    const bundled = filesOf(straight, 'tiny');
    const fetched = filesOf(home, SLOW_ID);
    // The records name their source; the weights are what they are.
    const weights = Object.keys(bundled).filter((path) => path.endsWith('.bin'));
    expect(weights.length).toBe(9);
    for (const path of weights) expect(fetched[path]).toBe(bundled[path]);
  });

  test('SIGTERM ends it with 143, as NDJSON with the failure as its last line', async () => {
    const child = start(join(folder, 'terminated'), ['--json']);
    let last = '';
    for await (const line of createInterface({ input: child.stdout })) {
      last = line;
      if (line.includes('"status":"started"') && line.includes('"event":"shard"')) {
        child.kill('SIGTERM');
      }
    }
    expect(JSON.parse(last)).toMatchObject({
      event: 'failed',
      code: 'ERR_INTERRUPTED',
      resumable: true,
      exitStatus: 143,
    });
    expect(child.exitCode ?? (await once(child, 'exit'))[0]).toBe(143);
  });

  test('a reader that goes away ends it without a word', async () => {
    const child = start(join(folder, 'unread'), ['--json']);
    const errors: Buffer[] = [];
    child.stderr.on('data', (chunk: Buffer) => errors.push(chunk));
    child.stdout.once('data', () => child.stdout.destroy());
    const [status] = (await once(child, 'exit')) as [number | null];
    expect(Buffer.concat(errors).toString()).toBe('');
    expect(status).toBe(130);
  });
});

describe('what a setup refuses', () => {
  test('a home that cannot be written is named, and the status is 73', async () => {
    const file = join(folder, 'a-file');
    writeFileSync(file, '');
    const { status, stderr } = await flashmoe(['setup', 'tiny', '--home', join(file, 'home')]);
    expect(status).toBe(73);
    expect(stderr).toContain(file);
    expect(stderr).toMatch(/\n\nhint: /);
  });

  test('a repository that is not there, a hub that is not there', async () => {
    const env = { FLASHMOE_HOME: join(folder, 'refused'), HF_ENDPOINT: hub.endpoint };
    const missing = await flashmoe(['setup', '--repo', 'acme/other'], { env });
    expect(missing.status).toBe(1);
    expect(missing.stderr).toContain('acme/other');

    const offline = await flashmoe(['setup', 'qwen3.5-35b', '--yes'], {
      env: { ...env, HF_ENDPOINT: '', HF_HUB_OFFLINE: '1' },
    });
    expect(offline.status).toBe(69);
    expect(offline.stderr).toContain('HF_HUB_OFFLINE');
    expect(readdirSync(folder)).not.toContain('refused');
  });

  test.each(['http://127.0.0.1:1', 'http://hub.invalid'])(
    'off the network a plan fails within five seconds with one line and a hint: %s',
    async (endpoint) => {
      const began = performance.now();
      const env = { FLASHMOE_HOME: join(folder, 'off'), HF_ENDPOINT: endpoint };
      const { status, stdout, stderr } = await flashmoe(['plan', 'qwen3.5-35b'], { env });
      expect(performance.now() - began).toBeLessThan(5000);
      expect({ status, stdout }).toEqual({ status: 75, stdout: '' });
      const [first, second, ...rest] = stderr.split('\n').filter((line) => line !== '');
      expect(first).toBe(`the hub is ${endpoint} (HF_ENDPOINT)`);
      expect(second).toMatch(
        /^mlx-community\/\S+: the (connection was refused|host name was not found)/,
      );
      expect(rest).toEqual([expect.stringMatching(/^hint: /)]);
    },
  );
});
