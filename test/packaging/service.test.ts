// The whole way, as built: a provisioned model, `flashmoe service install`, and a server that answers.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join, resolve } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { standIn } from '../helpers/stand-in.js';

const root = resolve(import.meta.dirname, '../..');
const entry = join(root, 'dist/cli/main.js');
const isBuilt = existsSync(entry) && existsSync(join(root, 'build/Release/flashmoe.node'));
if (!isBuilt)
  console.log('SKIP a server at login: dist/ or the addon is not built, run `make build`');

async function flashmoe(env: Record<string, string>, ...args: string[]): Promise<string> {
  const child = spawn(process.execPath, [entry, ...args], {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
  const [status] = (await once(child, 'close')) as [number | null];
  expect(status, `flashmoe ${args.join(' ')}: ${text.slice(-500)}`).toBe(0);
  return text;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

test.skipIf(!isBuilt)(
  'install starts a server that answers, uninstall ends it, the model stays',
  async () => {
    const mac = process.platform === 'darwin';
    const machine = standIn(mac ? 'launchctl' : 'systemctl', mac ? { gui: 1 } : { bus: 1 });
    onTestFinished(() => machine.dispose());
    const home = join(machine.home, 'flashmoe');
    const env = { ...machine.env, FLASHMOE_HOME: home };
    await flashmoe(env, 'setup', 'tiny', '--yes', '--no-service', '--json');
    const port = await freePort();
    writeFileSync(join(home, 'settings.json'), JSON.stringify({ model: 'tiny', port }));
    const health = (): Promise<Response> => fetch(`http://127.0.0.1:${port}/health`);

    expect(JSON.parse(await flashmoe(env, 'service', 'install', '--json'))).toMatchObject({
      installed: true,
      running: true,
    });
    await vi.waitFor(async () => expect((await health()).status).toBe(200), { timeout: 20_000 });

    const report = await flashmoe(env, 'doctor', '--only', 'service', 'server', '--json');
    const { findings } = JSON.parse(report) as { findings: { id: string; severity: string }[] };
    expect(findings.map(({ id, severity }) => `${id} ${severity}`)).toEqual([
      'service.definition ok',
      'service.state ok',
      'service.homebrew ok',
      'service.log ok',
      'server.health ok',
    ]);

    expect(JSON.parse(await flashmoe(env, 'service', 'uninstall', '--json'))).toMatchObject({
      installed: false,
      running: false,
    });
    await vi.waitFor(() => expect(health()).rejects.toThrow(), { timeout: 20_000 });
    expect(existsSync(join(home, 'models/tiny/manifest.json'))).toBe(true);
  },
);
