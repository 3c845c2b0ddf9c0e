import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { BUILD_MS, buildCli, flashmoe, mainScript, type CliResult } from '../helpers/built-cli.js';
import { standIn, type StandIn } from '../helpers/stand-in.js';

beforeAll(buildCli, BUILD_MS);

let linux: StandIn;
beforeEach(() => {
  linux = standIn('systemctl', { bus: 1 });
});
afterEach(() => linux.dispose());

const home = (): string => join(linux.root, 'models home');
const at = (args: string[]): Promise<CliResult> =>
  flashmoe(args, { env: { ...linux.env, FLASHMOE_HOME: home() } });
const unit = (): string => join(linux.home, '.config/systemd/user/dev.flashmoe.server.service');

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

// The stand-in is of systemd; elsewhere the command would rightly look for another manager.
const isLinux = process.platform === 'linux';
if (!isLinux) console.log('SKIP flashmoe service: the stand-in is of systemd');

describe.runIf(isLinux)('flashmoe service', () => {
  test('--dry-run prints the definition and changes nothing', async () => {
    const { status, stdout } = await at(['service', 'install', '--dry-run']);
    expect(status).toBe(0);
    expect(stdout).toContain('[Service]');
    expect(stdout).toContain(mainScript);
    expect(stdout).not.toContain('/Cellar/');
    expect(existsSync(unit())).toBe(false);
  });

  test('installs, shows and uninstalls a server that really starts', async () => {
    const port = await freePort();
    mkdirSync(home());
    writeFileSync(join(home(), 'settings.json'), JSON.stringify({ port }));
    const installed = await at(['service', 'install', '--json']);
    expect(installed.stderr).toBe('');
    expect(JSON.parse(installed.stdout)).toMatchObject({
      event: 'service',
      installed: true,
      running: true,
    });
    expect(readFileSync(unit(), 'utf8')).toContain('FLASHMOE_HOME');
    await vi.waitFor(
      () => {
        const said = readFileSync(join(home(), 'logs/server.log'), 'utf8');
        expect(said).toContain(`listening on http://127.0.0.1:${port}`);
      },
      { timeout: 20_000 },
    );
    const shown = await at(['service', 'status']);
    expect(shown.stdout).toMatch(/service (running|installed)/);
    const gone = await at(['service', 'uninstall']);
    expect(gone.stdout).toContain('service not installed');
    expect(existsSync(unit())).toBe(false);
  });

  test('start, stop, restart and logs work on a server on demand', async () => {
    const port = await freePort();
    mkdirSync(home());
    writeFileSync(join(home(), 'settings.json'), JSON.stringify({ port }));
    const early = await at(['service', 'start']);
    expect(early).toMatchObject({ status: 1 });
    expect(early.stderr).toContain('hint: flashmoe service install');
    const installed = await at(['service', 'install', '--on-demand', '--json']);
    expect(JSON.parse(installed.stdout)).toMatchObject({ installed: true, running: false });
    expect(JSON.parse((await at(['service', 'start', '--json'])).stdout)).toMatchObject({
      running: true,
    });
    const follower = spawn(process.execPath, [mainScript, 'service', 'logs', '-f'], {
      env: { ...linux.env, FLASHMOE_HOME: home() },
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    let followed = '';
    follower.stdout.on('data', (chunk: Buffer) => (followed += chunk.toString()));
    const listening = `listening on http://127.0.0.1:${port}`;
    await vi.waitFor(() => expect(followed).toContain(listening), { timeout: 20_000 });

    const restarted = JSON.parse((await at(['service', 'restart', '--json'])).stdout) as object;
    expect(restarted).toMatchObject({ running: true });
    // The second server's line reaches whoever follows.
    await vi.waitFor(() => expect(followed.split(listening)).toHaveLength(3), { timeout: 20_000 });
    follower.kill();
    expect(JSON.parse((await at(['service', 'stop', '--json'])).stdout)).toMatchObject({
      installed: true,
      running: false,
    });
    const { stdout } = await at(['service', 'logs', '-n', '1']);
    expect(stdout.trimEnd().split('\n')).toHaveLength(1);
    expect(stdout).toMatch(/^\d{4}-\d\d-\d\dT/);
  });

  test('a second server of one home as the service says who runs already', async () => {
    const port = await freePort();
    mkdirSync(home());
    writeFileSync(join(home(), 'settings.json'), JSON.stringify({ port }));
    await at(['service', 'install']);
    const log = join(home(), 'logs/server.log');
    await vi.waitFor(() => expect(readFileSync(log, 'utf8')).toContain('listening'), {
      timeout: 20_000,
    });
    const second = await at(['serve', '--as-service', '--port', '0']);
    expect(second.status).toBe(69);
    expect(readFileSync(log, 'utf8')).toMatch(/not started: .*\d+/);
    const other = await at(['serve', '--port', String(port)]);
    expect(other.status).toBe(69);
    expect(other.stderr).toContain(
      `already serving, without a model, at http://127.0.0.1:${port}/`,
    );
  });

  test('models on a volume that is not there are waited for, with the reason in health and log', async () => {
    const port = await freePort();
    mkdirSync(home());
    writeFileSync(join(home(), 'settings.json'), JSON.stringify({ port, model: 'tiny' }));
    const volume = join(linux.root, 'Big Disk');
    symlinkSync(volume, join(home(), 'models'));
    await at(['service', 'install']);
    const health = async (): Promise<string> =>
      (await fetch(`http://127.0.0.1:${port}/health`)).text();
    await vi.waitFor(async () => expect(await health()).toContain(`waiting for ${volume}`), {
      timeout: 20_000,
    });
    expect(await health()).toContain('"loading"');
    mkdirSync(volume);
    // What is on the volume is looked up once it is there: here no model is.
    await vi.waitFor(async () => expect(await health()).toContain('tiny is not set up here'), {
      timeout: 20_000,
    });
    expect((await at(['service', 'logs'])).stdout).toContain(`${volume} is there`);
  });

  test('after crashes the server answers, says when it loads again, and a clean stop forgets them', async () => {
    const port = await freePort();
    mkdirSync(join(home(), 'logs'), { recursive: true });
    writeFileSync(join(home(), 'settings.json'), JSON.stringify({ port, model: 'tiny' }));
    const record = join(home(), 'logs/server-starts.json');
    writeFileSync(record, JSON.stringify({ starts: [1, 2, 3].map((n) => Date.now() - n * 1000) }));
    await at(['service', 'install']);
    await vi.waitFor(
      async () => {
        const health = await (await fetch(`http://127.0.0.1:${port}/health`)).text();
        expect(health).toMatch(/ended 3 times within an hour .* loads again at/);
      },
      { timeout: 20_000 },
    );
    await at(['service', 'stop']);
    expect(existsSync(record)).toBe(false);
  });

  test('where no manager answers it says so and names the way without one', async () => {
    linux.set({ bus: null });
    const { status, stderr } = await at(['service', 'install']);
    expect(status).toBe(1);
    expect(stderr).toMatch(/neither launchd nor .*\n\nhint: .*flashmoe serve/);
    expect((await at(['service', 'status'])).status).toBe(0);
  });
});
