// Each state of a model says which command leads on: here that command is typed, by the owner of a repository's model.

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { BUILD_MS, buildCli, flashmoe, mainScript } from '../helpers/built-cli.js';
import type { FaultHub } from '../helpers/hub/fault-hub.js';
import { SLOW_ID, SLOW_REPO, startSlowHub } from '../helpers/slow-hub.js';

// Each test starts several processes; a busy machine takes its time for them.
vi.setConfig({ testTimeout: 180_000 });

const folder = mkdtempSync(join(tmpdir(), 'flashmoe-next-'));
const home = join(folder, 'home');
const bin = join(folder, 'bin');
const manifest = join(home, 'models', SLOW_ID, 'manifest.json');
let hub: FaultHub;
const children: ChildProcess[] = [];

beforeAll(async () => {
  await buildCli();
  mkdirSync(bin);
  const program = join(bin, 'flashmoe');
  writeFileSync(program, `#!/bin/sh\nexec "${process.execPath}" "${mainScript}" "$@"\n`);
  chmodSync(program, 0o755);
  hub = await startSlowHub();
}, BUILD_MS);
afterAll(async () => {
  for (const child of children) child.kill('SIGKILL');
  await hub.close();
  rmSync(folder, { recursive: true, force: true });
});

const env = () => ({ FLASHMOE_HOME: home, HF_ENDPOINT: hub.endpoint });
const at = (...args: string[]) => flashmoe(args, { env: env() });

interface Shown {
  state: string;
  why: string | null;
  /** A line to type. */
  next: string;
}

async function shown(): Promise<Shown | undefined> {
  const { stdout } = await at('status', '--json');
  const { models } = JSON.parse(stdout) as { models: (Shown & { id: string })[] };
  return models.find(({ id }) => id === SLOW_ID);
}

/** Looks until the model is in that state; the test's own limit ends it. */
async function reaches(state: string): Promise<Shown> {
  for (;;) {
    const now = await shown();
    if (now?.state === state) return now;
    await pause(50);
  }
}

/** Types what the state says into a shell; `--yes` where a person at a terminal would be asked. */
function type(line: string): {
  child: ChildProcess;
  ended: Promise<{ status: number; stderr: string }>;
} {
  const child = spawn('bash', ['-c', `exec ${line}${/ setup /.test(line) ? ' --yes' : ''}`], {
    env: { PATH: `${bin}:${process.env['PATH'] ?? ''}`, HOME: '/nonexistent', ...env() },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  children.push(child);
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const ended = once(child, 'close').then(([status]) => ({ status: status as number, stderr }));
  return { child, ended };
}

const follow = ({ next }: Shown) => type(next).ended;

function change(edit: (content: Record<string, unknown>) => void): void {
  const content = JSON.parse(readFileSync(manifest, 'utf8')) as Record<string, unknown>;
  edit(content);
  writeFileSync(manifest, JSON.stringify(content));
}

test('a setup that is under way, paused, and killed leads on to the model', async () => {
  const setup = type(`flashmoe setup --repo ${SLOW_REPO}`);
  expect((await reaches('fetching')).next).toBe(`flashmoe attach ${SLOW_ID}`);

  expect((await at('pause', SLOW_ID)).status).toBe(0);
  const paused = await reaches('paused');
  expect(paused.next).toBe(`flashmoe resume ${SLOW_ID}`);
  expect((await follow(paused)).status).toBe(0);
  // Whoever attaches sees it until it ends; this one ends with the process it looks at.
  const attached = follow(await reaches('fetching'));

  setup.child.kill('SIGKILL');
  await setup.ended;
  await attached;
  const killed = await reaches('paused');
  expect(killed).toMatchObject({ why: 'its last run ended without a word' });
  hub.reset();
  expect(await follow(killed)).toMatchObject({ status: 0 });
});

test('a model that is ready is run', async () => {
  expect(await follow(await reaches('ready'))).toMatchObject({ status: 0 });
});

test.each([
  [
    'unjudged',
    (content: Record<string, unknown>) => {
      delete content['check'];
    },
  ],
  [
    'failed',
    (content: Record<string, unknown>) => {
      Object.assign(content['check'] as object, { verdict: 'failed', reasons: ['2 are wrong'] });
    },
  ],
  [
    'packed',
    (content: Record<string, unknown>) => {
      delete content['check'];
      content['receipt'] = null;
    },
  ],
])('a model that is %s is ready after its command', async (state, edit) => {
  change(edit);
  expect(await follow(await reaches(state))).toMatchObject({ status: 0 });
  expect(await shown()).toMatchObject({ state: 'ready' });
});

test('a manifest that cannot be read is made anew by its command', async () => {
  writeFileSync(manifest, '{');
  expect(await follow(await reaches('failed'))).toMatchObject({ status: 0 });
  expect(await shown()).toMatchObject({ state: expect.stringMatching(/ready|unjudged/) as string });
});

test('a model on a disk that is not there says so to its command, and is there again with the disk', async () => {
  const [disk, elsewhere] = [join(folder, 'disk'), join(folder, 'unplugged')];
  mkdirSync(disk);
  expect(await at('mv', SLOW_ID, disk)).toMatchObject({ status: 0 });
  renameSync(disk, elsewhere);
  const away = await reaches('away');
  const refused = await follow(away);
  expect(refused.status).not.toBe(0);
  expect(refused.stderr).toContain('is not there');
  renameSync(elsewhere, disk);
  expect(await follow(away)).toMatchObject({ status: 0 });
});

test('a model that was removed is not shown any more', async () => {
  expect(await at('rm', SLOW_ID, '--yes')).toMatchObject({ status: 0 });
  expect(await shown()).toBeUndefined();
});
