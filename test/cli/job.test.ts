import { spawn, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { BUILD_MS, buildCli, flashmoe, mainScript, projectRoot } from '../helpers/built-cli.js';
import { FaultHub } from '../helpers/hub/fault-hub.js';
import { openTerminal, tmuxMissing } from '../helpers/tmux.js';

// Each test starts several processes; a busy machine takes its time for them.
vi.setConfig({ testTimeout: 180_000 });

const missing = tmuxMissing();
if (missing !== null) console.log(missing);

const REPO = 'acme/tiny';
const ID = 'acme--tiny';
const folder = mkdtempSync(join(tmpdir(), 'flashmoe-job-'));
const left: ChildProcess[] = [];
let hub: FaultHub;
beforeAll(async () => {
  await buildCli();
  hub = await FaultHub.start(join(projectRoot, 'models/tiny'), REPO);
}, BUILD_MS);
afterAll(async () => {
  for (const child of left) child.kill('SIGKILL');
  await hub.close();
  rmSync(folder, { recursive: true, force: true });
});

type Line = Record<string, unknown> & { event: string };

interface Job {
  child: ChildProcess;
  lines: Line[];
  /** The next or an earlier line that fits. */
  seen(what: (line: Line) => boolean): Promise<Line>;
  ended: Promise<number | null>;
}

function launch(home: string, args: string[]): Job {
  const child = spawn(process.execPath, [mainScript, ...args, '--json'], {
    env: { PATH: process.env['PATH'], HOME: '/nonexistent', ...envOf(home) },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  left.push(child);
  const lines: Line[] = [];
  const watchers = new Set<() => void>();
  let rest = '';
  let errors = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text));
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    const parts = (rest + text).split('\n');
    rest = parts.pop() ?? '';
    lines.push(...parts.map((part) => JSON.parse(part) as Line));
    for (const watcher of watchers) watcher();
  });
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
  const seen = (what: (line: Line) => boolean): Promise<Line> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        const line = lines.find(what);
        if (line === undefined) return;
        watchers.delete(look);
        resolve(line);
      };
      watchers.add(look);
      look();
      void ended.then(() =>
        reject(new Error(`it ended first: ${JSON.stringify(lines.at(-1))} ${errors}`)),
      );
    });
  return { child, lines, seen, ended };
}

const envOf = (home: string): Record<string, string> => ({
  FLASHMOE_HOME: home,
  HF_ENDPOINT: hub.endpoint,
});
const at = (home: string, ...args: string[]) => flashmoe(args, { env: envOf(home) });
const moves = ({ event, step, done }: Line): boolean =>
  event === 'progress' && step === 'fetch' && Number(done) > 0;
const waits =
  (code: string) =>
  ({ event, code: found }: Line): boolean =>
    event === 'waiting' && found === code;
const SETUP = ['setup', '--repo', REPO, '--yes', '--no-service'];
/** So slow that it is at work for as long as the test wants it to be. */
const SLOW = ['--limit', '200kB/s'];

interface Status {
  models: {
    id: string;
    state: string;
    pid: number | null;
    bytesPerSecond: number | null;
    secondsLeft: object | null;
    waiting: string | null;
    nextTry: string | null;
  }[];
}

async function statusOf(home: string): Promise<Status['models'][number] | undefined> {
  const { stdout } = await at(home, 'status', '--json');
  return (JSON.parse(stdout) as Status).models.find(({ id }) => id === ID);
}

describe('a setup that is running', () => {
  test('is joined by a second one, followed from the beginning, and both end with the same receipt', async () => {
    const home = join(folder, 'joined');
    const first = launch(home, [...SETUP, ...SLOW]);
    await first.seen(moves);
    hub.log.length = 0;
    const second = launch(home, SETUP);
    await second.seen(moves);
    // It asked the hub for nothing of its own.
    expect(hub.log.filter(({ path }) => path.includes('/tree/'))).toEqual([]);
    expect(second.lines.map(({ event }) => event)).toContain('plan');
    expect(second.lines[0]?.event).toBe('notice');
    const socket = join(home, 'models', ID, 'setup.lock');
    const name = readdirSync(socket).find((entry) => entry.endsWith('.sock')) ?? '';
    expect(statSync(join(socket, name)).mode & 0o777).toBe(0o600);
    expect(await at(home, 'limit', 'off')).toMatchObject({ status: 0 });
    expect(await Promise.all([first.ended, second.ended])).toEqual([0, 0]);
    expect(second.lines.at(-1)).toMatchObject({ event: 'finished' });
    expect(second.lines.at(-1)?.['receipt']).toEqual(first.lines.at(-1)?.['receipt']);
  });

  test('goes on when a view of it is left, and tells another that comes how fast it is', async () => {
    const home = join(folder, 'left');
    const owner = launch(home, [...SETUP, ...SLOW]);
    await owner.seen(moves);
    const view = launch(home, ['attach']);
    await view.seen(moves);
    view.child.kill('SIGINT');
    expect(await view.ended).toBe(130);
    expect(view.lines.at(-1)).toMatchObject({ event: 'failed', code: 'ERR_INTERRUPTED' });
    await vi.waitFor(
      async () => {
        const now = await statusOf(home);
        expect(now).toMatchObject({ state: 'fetching', pid: owner.child.pid, waiting: null });
        expect(now?.bytesPerSecond).toBeGreaterThan(0);
        // The figure is of 10 s, the burst and the first chunks included.
        expect(now?.bytesPerSecond).toBeLessThan(400_000);
        expect(now?.secondsLeft).not.toBeNull();
      },
      { timeout: 60_000, interval: 500 },
    );
    expect((await at(home, 'limit', 'off')).status).toBe(0);
    expect(await owner.ended).toBe(0);
  });

  test('is paused, limited to hours and stopped from another terminal; what was set outlives it', async () => {
    const home = join(folder, 'told');
    const owner = launch(home, [...SETUP, ...SLOW]);
    await owner.seen(moves);
    expect((await at(home, 'pause')).stdout).toContain('is paused');
    await owner.seen(waits('paused'));
    expect(await statusOf(home)).toMatchObject({ waiting: 'paused', nextTry: null });
    expect((await at(home, 'resume')).status).toBe(0);
    await owner.seen(({ event }) => event === 'resumed');
    const hour = (ahead: number): string =>
      `${String((new Date().getHours() + ahead) % 24).padStart(2, '0')}:00`;
    expect((await at(home, 'hours', `${hour(2)}-${hour(3)}`)).status).toBe(0);
    const { until } = await owner.seen(waits('hours'));
    expect(new Date(String(until)).getHours()).toBe((new Date().getHours() + 2) % 24);
    expect(await statusOf(home)).toMatchObject({
      waiting: `outside ${hour(2)}-${hour(3)}`,
      nextTry: until,
    });
    expect((await at(home, 'stop')).status).toBe(0);
    expect(await owner.ended).toBe(130);
    expect(owner.lines.at(-1)).toMatchObject({ code: 'ERR_INTERRUPTED', resumable: true });
    expect(await statusOf(home)).toMatchObject({ state: 'paused', pid: null });

    // Nobody runs: it is kept for when somebody does.
    expect((await at(home, 'hours', 'off')).stdout).toContain('when it goes on');
    const kept = JSON.parse(
      readFileSync(join(home, 'models', ID, 'limits.json'), 'utf8'),
    ) as object;
    expect(kept).toEqual({ schema: 1, bytesPerSecond: 200_000, hours: null });
    const again = launch(home, SETUP);
    await again.seen(moves);
    const { stdout } = await at(home, 'limit', '100MB/s', ID);
    expect(stdout).toContain('at most 100 MB/s');
    expect(await again.ended).toBe(0);
  });

  test('whose owner was killed is told as dead, and the next setup goes on from its bytes', async () => {
    const home = join(folder, 'dead');
    const owner = launch(home, [...SETUP, ...SLOW]);
    await owner.seen(moves);
    const view = launch(home, SETUP);
    await view.seen(moves);
    owner.child.kill('SIGKILL');
    expect(await view.ended).toBe(75);
    expect(view.lines.at(-1)).toMatchObject({ event: 'failed', code: 'ERR_OWNER_GONE' });
    expect(await statusOf(home)).toMatchObject({ state: 'paused', pid: null });
    const attach = await at(home, 'attach');
    expect(attach).toMatchObject({ status: 1 });
    expect(attach.stderr).toContain('no setup is running here');
    const again = await at(home, ...SETUP, '--limit', 'off', '--json');
    expect(again.status).toBe(0);
    const hashes = (of: string): string[] =>
      readdirSync(join(folder, of, 'models', ID), { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile() && entry.name.endsWith('.bin'))
        .map((entry) => readFileSync(join(entry.parentPath, entry.name)))
        .map((content) => createHash('sha256').update(content).digest('hex'))
        .sort();
    if (existsSync(join(folder, 'joined'))) expect(hashes('dead')).toEqual(hashes('joined'));
  });

  test('drops whoever speaks too long or out of turn, and minds nothing', async () => {
    const home = join(folder, 'rude');
    const owner = launch(home, [...SETUP, ...SLOW]);
    await owner.seen(moves);
    const lock = join(home, 'models', ID, 'setup.lock');
    const socket = join(lock, readdirSync(lock).find((name) => name.endsWith('.sock')) ?? '');
    for (const words of ['x'.repeat(10_000), 'nonsense\n', '{"id":1,"do":"format-disk"}\n']) {
      const closed = await new Promise<boolean>((resolve) => {
        const client = createConnection(socket, () => client.write(words));
        client.on('error', () => undefined);
        client.on('close', () => resolve(true));
        client.resume();
      });
      expect(closed).toBe(true);
    }
    expect(await statusOf(home)).toMatchObject({ state: 'fetching' });
    expect((await at(home, 'stop')).status).toBe(0);
    expect(await owner.ended).toBe(130);
  });

  test.skipIf(missing !== null)(
    'is watched on another terminal, paused by a key there, and left alone by q',
    async ({ onTestFinished }) => {
      const home = join(folder, 'watched');
      const owner = launch(home, [...SETUP, ...SLOW]);
      await owner.seen(moves);
      const words = [process.execPath, mainScript, 'attach'];
      const screen = openTerminal(words, { columns: 80, rows: 24 }, envOf(home));
      onTestFinished(() => screen.close());
      await screen.until((text) => text.includes('q leave, the setup goes on'));
      screen.press('p');
      await owner.seen(waits('paused'));
      await screen.until((text) => text.includes('p go on') && text.includes('waiting'));
      screen.press('p');
      await screen.until((text) => !text.includes('waiting'));
      screen.press('q');
      const end = await screen.until((text) => text.includes('exit: 130'));
      expect(end).toContain('the setup goes on in process');
      expect((await at(home, 'limit', 'off')).status).toBe(0);
      expect(await owner.ended).toBe(0);
    },
  );
});
