// flashmoe update beside a server that answers: over HTTP, before it, while the new one is fetched, and after it.

import { spawn, type ChildProcess } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { packageRoot } from '../../src/base/package-root.js';
import { BUILD_MS, buildCli, flashmoe, mainScript } from '../helpers/built-cli.js';
import { FaultHub } from '../helpers/hub/fault-hub.js';
import { drip } from '../helpers/hub/faults.js';
import { changeLastByte } from '../installer/provisioned.js';

vi.setConfig({ testTimeout: 180_000 });

const REPO = 'acme/tiny';
const ID = 'acme--tiny';
let folder = '';
let hub: FaultHub;
let newer: FaultHub;
const children: ChildProcess[] = [];

async function hubOf(edit: (at: string) => Promise<void>): Promise<FaultHub> {
  const at = await mkdtemp(join(folder, 'repo-'));
  await cp(join(packageRoot, 'models', 'tiny'), at, { recursive: true });
  await edit(at);
  return FaultHub.start(at, REPO);
}

/** Another template, and the last byte of the last shard: of one tensor. */
async function nextCommit(at: string): Promise<void> {
  const template = join(at, 'chat_template.jinja');
  await writeFile(template, `{# of the next commit #}${await readFile(template, 'utf8')}`);
  await changeLastByte(at);
}

const env = (endpoint: string) => ({
  FLASHMOE_HOME: join(folder, 'home'),
  HF_ENDPOINT: endpoint,
});

beforeAll(async () => {
  await buildCli();
  folder = await mkdtemp(join(tmpdir(), 'flashmoe-update-'));
  hub = await hubOf(() => Promise.resolve());
  newer = await hubOf(nextCommit);
  const setup = await flashmoe(['setup', '--repo', REPO, '--yes', '--no-service'], {
    env: env(hub.endpoint),
  });
  expect(setup.status, setup.stderr).toBe(0);
}, BUILD_MS + 120_000);
afterAll(async () => {
  for (const child of children) child.kill('SIGKILL');
  await Promise.all([hub.close(), newer.close()]);
  await rm(folder, { recursive: true, force: true });
});

function serve(): Promise<{ child: ChildProcess; url: string }> {
  const child = spawn(process.execPath, [mainScript, 'serve', ID, '--port', '0'], {
    env: { ...process.env, ...env(hub.endpoint) },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  children.push(child);
  let log = '';
  return new Promise((ready, fail) => {
    child.stderr.on('data', (chunk) => {
      log += String(chunk);
      const url = /listening on (http:\S+)/.exec(log)?.[1];
      if (url !== undefined && /model \S+ ready/.test(log)) ready({ child, url });
    });
    child.once('close', () => fail(new Error(log)));
  });
}

async function ask(url: string): Promise<string> {
  const answer = await fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      model: ID,
      messages: [{ role: 'user', content: 'What is 347 + 285?' }],
      temperature: 0,
    }),
  });
  expect(answer.status).toBe(200);
  const body = (await answer.json()) as { choices: { message: { content: string } }[] };
  return body.choices[0]?.message.content ?? '';
}

test('a server answers with the old one while the new one is fetched and when it has taken its place', async () => {
  const { child, url } = await serve();
  expect(await ask(url)).toBe('632');
  newer.rule({ on: 'cdn', fault: drip(65_536, 50) });
  const updating = flashmoe(['update', ID, '--yes'], { env: env(newer.endpoint) });
  let isDone = false;
  void updating.then(() => (isDone = true));
  const answers: string[] = [];
  while (!isDone) answers.push(await ask(url));
  const { status, stdout, stderr } = await updating;
  expect(status, stderr).toBe(0);
  expect(stdout).toContain(`${ID} is at ${newer.commit.slice(0, 12)} now and answers`);
  expect(answers.length).toBeGreaterThan(3);
  expect(new Set(answers)).toEqual(new Set(['632']));
  // The old one is in memory with its files open: they have no name any more, and it answers all the same.
  expect(await ask(url)).toBe('632');
  child.kill('SIGTERM');
  await new Promise((ended) => child.once('close', ended));
  const after = await serve();
  expect(await ask(after.url)).toBe('632');
  const shown = await flashmoe(['show', ID, '--json'], { env: env(newer.endpoint) });
  expect(JSON.parse(shown.stdout)).toMatchObject({ state: 'ready', commit: newer.commit });
});
