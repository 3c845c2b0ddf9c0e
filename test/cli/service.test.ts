import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
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
        const said = readFileSync(join(home(), 'logs/service.err.log'), 'utf8');
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

  test('where no manager answers it says so and names the way without one', async () => {
    linux.set({ bus: null });
    const { status, stderr } = await at(['service', 'install']);
    expect(status).toBe(1);
    expect(stderr).toMatch(/neither launchd nor .*\n\nhint: .*flashmoe serve/);
    expect((await at(['service', 'status'])).status).toBe(0);
  });
});
