// The home that version 0.1.0 left, under the program as it is now: it opens, resumes, verifies and serves.

import { once } from 'node:events';
import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { BUILD_MS, buildCli, flashmoe, projectRoot, type CliResult } from '../helpers/built-cli.js';
import { FaultHub } from '../helpers/hub/fault-hub.js';
import { openOldHome, remakeWeights, type OldHome } from '../helpers/old-home/open.js';
import { standIn, type StandIn } from '../helpers/stand-in.js';

vi.setConfig({ testTimeout: 120_000 });

let weights = '';
let old: OldHome;
beforeAll(async () => {
  await buildCli();
  weights = await remakeWeights();
}, BUILD_MS);
afterAll(() => rm(weights, { recursive: true, force: true }));
beforeEach(async () => {
  old = await openOldHome(weights);
});
afterEach(() => old.remove());

const at = (args: string[], env: Record<string, string> = {}): Promise<CliResult> =>
  flashmoe(args, { env: { FLASHMOE_HOME: old.home, HF_HUB_OFFLINE: '1', ...env } });

/** Bytes of the half's checkpoint, and more than headers that are looked at again. */
const SHARDS = [140_767, 142_421, 218_667] as const;
const HEADERS = 32_768;

interface Answer {
  choices: { message: { content: string } }[];
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

const ask = async (port: number, model: string): Promise<string> => {
  const response = await fetch(`http://127.0.0.1:${port}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      ...{ model, max_tokens: 8, temperature: 0, enable_thinking: false },
      messages: [{ role: 'user', content: '12 + 30 = ?' }],
    }),
  });
  const body = await response.text();
  expect(response.status, body).toBe(200);
  return (JSON.parse(body) as Answer).choices[0]?.message.content ?? '';
};

describe('the home of version 0.1.0', () => {
  it('shows every model that it holds, the moved one included', async () => {
    const { status, stdout } = await at(['status', '--json']);
    expect(status).toBe(0);
    const { models, defaultModel } = JSON.parse(stdout) as {
      models: { id: string; state: string; detail: string | null; bytes: number | null }[];
      defaultModel: string;
    };
    expect(models.map(({ id }) => id)).toEqual(['acme--half', 'acme--small', 'tiny', 'tiny-2bit']);
    // Whoever was ready then was never judged by today's checks, and serves meanwhile.
    expect(models.map(({ state }) => state)).toEqual([
      'paused',
      'unjudged',
      'unjudged',
      'unjudged',
    ]);
    expect(models.filter(({ bytes }) => bytes !== null).map(({ id }) => id)).toEqual([
      'acme--small',
      'tiny',
      'tiny-2bit',
    ]);
    expect(defaultModel).toBe('acme--small');
  });

  it('verifies, and judges what nobody has judged: the repository of random weights fails', async () => {
    const { status, stdout } = await at(['verify', '--json']);
    expect(status, stdout).toBe(1);
    const { models } = JSON.parse(stdout) as {
      models: { id: string; files: { problem: unknown }[]; check: { verdict: string } }[];
    };
    const wrong = models.flatMap(({ files }) => files.filter(({ problem }) => problem !== null));
    expect(wrong).toEqual([]);
    expect(models.map(({ id, check }) => [id, check.verdict])).toEqual([
      ['acme--small', 'failed'],
      ['tiny', 'passed'],
      ['tiny-2bit', 'passed'],
    ]);
    const after = await at(['status', '--json']);
    const { models: now } = JSON.parse(after.stdout) as {
      models: { id: string; state: string; next: string }[];
    };
    expect(now.map(({ state }) => state)).toEqual(['paused', 'failed', 'ready', 'ready']);
    // Whatever a state says leads on is a command that knows the model.
    for (const { id, next } of now.filter(({ state }) => state !== 'paused')) {
      const words = next.replaceAll("'", '').split(' ').slice(1);
      const [verb = '', ...rest] = words;
      const done = await at(
        verb === 'run' ? ['run', '--model', id, 'Who are you?'] : [verb, ...rest],
      );
      expect(done.stderr + done.stdout, next).not.toMatch(/there is no model|not set up here/);
      expect(done.status, next).toBe(id === 'acme--small' ? 1 : 0);
    }
  });

  it('goes on with half a setup and fetches no shard again', async () => {
    const hub = await FaultHub.start(join(projectRoot, 'test/fixtures/qwen3_moe'), 'acme/half');
    try {
      // By the name that `status` shows, as its next command has it.
      const args = ['setup', 'acme--half', '--yes', '--no-service', '--limit', 'off'];
      const { stdout, stderr } = await at([...args, '--json'], {
        ...{ HF_ENDPOINT: hub.endpoint, HF_HUB_OFFLINE: '0' },
      });
      expect(stdout, stderr).toContain('"step":"finish","status":"done"');
      const fetched = hub.log.reduce((sum, { side, sent }) => sum + (side === 'cdn' ? sent : 0), 0);
      const [first, second, third] = SHARDS;
      expect(fetched).toBeGreaterThan(third);
      expect(fetched).toBeLessThanOrEqual(second + third + HEADERS);
      expect(first).toBeGreaterThan(HEADERS);
      const checked = await at(['verify', 'acme--half']);
      expect(checked.stdout).toContain('every hash is right');
      const files = (home: string) =>
        readFile(join(home, 'models/acme--half/packed_experts/layer_02.bin'));
      const whole = await readFile(
        join(old.home, 'models/acme--small/packed_experts/layer_02.bin'),
      );
      expect((await files(old.home)).equals(whole)).toBe(true);
    } finally {
      await hub.close();
    }
  });

  it('answers with the model that lies in it, and with the one that was moved', async () => {
    for (const model of ['tiny', 'tiny-2bit']) {
      const { status, stdout, stderr } = await at(['run', '--model', model, 'What is 347 + 285?']);
      expect(status, stderr).toBe(0);
      expect(stdout.trim()).toBe('632');
    }
  });

  it('keeps states of prompts, and is asked for them without harm', async () => {
    const prompt = 'Say: Yūki café. '.repeat(20);
    const { status, stderr } = await at(['run', '--model', 'tiny', prompt, '--max-tokens', '4']);
    expect(status, stderr).toBe(0);
    expect(stderr).not.toContain('states of prompts');
  });
});

const isLinux = process.platform === 'linux';
if (!isLinux) console.log('SKIP the service of version 0.1.0: its file is of systemd');

describe('a home of a newer version', () => {
  it.each([
    ['manifest.json', 'models/tiny/manifest.json', /"version": 1/, '"version": 2'],
    ['journal.ndjson', 'models/tiny/journal.ndjson', /"schema":1/, '"schema":2'],
    ['plan.json', 'models/acme--half/plan.json', /"schema":1/, '"schema":2'],
    ['location.json', 'models/tiny-2bit/location.json', /"version":1/, '"version":2'],
  ])('is told by its %s, by name, and nothing is changed', async (name, path, from, to) => {
    const file = join(old.home, path);
    const before = await readFile(file, 'utf8');
    await writeFile(file, before.replace(from, to));
    const id = path.split('/')[1] ?? '';
    const words = name === 'location.json' ? ['run', '--model', id, 'x'] : ['setup', id, '--yes'];
    const { status, stderr } = await at(words);
    expect(status).toBe(1);
    expect(stderr).toMatch(new RegExp(`${name} is of format 2, this flashmoe reads format 1`));
    expect(await readFile(file, 'utf8')).toBe(before.replace(from, to));
  });
});

describe.runIf(isLinux)('the service that version 0.1.0 installed', () => {
  let manager: StandIn;
  beforeEach(() => {
    manager = standIn('systemctl', { bus: 1 });
  });
  afterEach(() => manager.dispose());

  it('starts by its own path, serves the models that are there, and judges them while nobody asks', async () => {
    const units = join(manager.home, '.config/systemd/user');
    await cp(old.service, units, { recursive: true });
    await mkdir(join(old.home, 'logs'), { recursive: true });
    const settings = join(old.home, 'settings.json');
    const port = await freePort();
    const chosen = JSON.parse(await readFile(settings, 'utf8')) as object;
    await writeFile(settings, JSON.stringify({ ...chosen, port }));
    await at(['service', 'start'], manager.env);
    await vi.waitFor(
      async () => {
        const { status } = (await (await fetch(`http://127.0.0.1:${port}/health`)).json()) as {
          status: string;
        };
        expect(status).toBe('ok');
      },
      { timeout: 60_000, interval: 100 },
    );
    expect(await ask(port, 'acme--small')).not.toBe('');
    expect(await ask(port, 'tiny')).not.toBe('');
    // Nobody asks any more: the server judges what it has in memory.
    await vi.waitFor(
      async () => {
        const { models } = JSON.parse((await at(['status', '--json'])).stdout) as {
          models: { id: string; state: string }[];
        };
        expect(models.find(({ id }) => id === 'tiny')?.state).toBe('ready');
      },
      { timeout: 60_000, interval: 1000 },
    );
    const { stdout } = await at(['service', 'status', '--json'], manager.env);
    expect(JSON.parse(stdout)).toMatchObject({ installed: true, running: true });
    const stopped = await at(['service', 'stop', '--json'], manager.env);
    expect(JSON.parse(stopped.stdout)).toMatchObject({ running: false });
  });
});
