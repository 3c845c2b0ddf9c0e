import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { powerWarnings } from '../../src/machine/power.js';
import { BUILD_MS, buildCli, flashmoe, projectRoot } from '../helpers/built-cli.js';
import { FaultHub } from '../helpers/hub/fault-hub.js';
import { standIn } from '../helpers/stand-in.js';

vi.setConfig({ testTimeout: 180_000 });

const REPO = 'acme/tiny';
const ID = 'acme--tiny';
const SETUP = ['setup', '--repo', REPO, '--yes', '--no-service'];
const folder = mkdtempSync(join(tmpdir(), 'flashmoe-overnight-'));
let hub: FaultHub;
beforeAll(async () => {
  await buildCli();
  hub = await FaultHub.start(join(projectRoot, 'models/tiny'), REPO);
}, BUILD_MS);
afterAll(async () => {
  await hub.close();
  rmSync(folder, { recursive: true, force: true });
});

interface Report {
  runs: number;
  killed: number;
  receivedBytes: number;
  wastedBytes: number | null;
  outcome: string | null;
  contentSha256: string | null;
  waits: { reason: string }[];
}

const envOf = (home: string): Record<string, string> => ({
  FLASHMOE_HOME: home,
  HF_ENDPOINT: hub.endpoint,
});

async function reportOf(home: string): Promise<Report> {
  const { stdout } = await flashmoe(['report', ID, '--json'], { env: envOf(home) });
  return JSON.parse(stdout) as Report;
}

async function untilReady(home: string): Promise<void> {
  await vi.waitFor(() => expect(existsSync(join(home, 'models', ID, 'manifest.json'))).toBe(true), {
    timeout: 120_000,
    interval: 300,
  });
  // The manifest comes before the known answer; the report's outcome is the end.
  await vi.waitFor(async () => expect((await reportOf(home)).outcome).toBe('finished'), {
    timeout: 60_000,
    interval: 500,
  });
}

describe('a setup overnight', () => {
  // The stand-in is of systemd; on a Mac the command would rightly look for launchd.
  const isLinux = process.platform === 'linux';
  if (!isLinux) console.log('SKIP a night under systemd: the stand-in is of systemd');

  test.runIf(isLinux)('is handed to systemd, ends there, and leaves no job behind', async () => {
    const linux = standIn('systemctl', { bus: 1 });
    try {
      const home = join(linux.root, 'night');
      const env = { ...linux.env, ...envOf(home), HF_TOKEN: 'hf_abcdefghijklmnop' };
      const { status, stdout, stderr } = await flashmoe(
        [...SETUP, '--overnight', '--limit', '2MB/s'],
        { env },
      );
      expect({ status, stderr }).toMatchObject({ status: 0 });
      expect(stdout).toContain('handed to systemd');
      expect(stdout).toContain('flashmoe attach');
      expect(stderr).toContain('HF_TOKEN is not handed on');
      const unit = join(linux.home, '.config/systemd/user/dev.flashmoe.provision.service');
      const text = readFileSync(unit, 'utf8');
      expect(text).toContain('"--limit" "2000000B/s"');
      expect(text).toContain('Restart=no');
      expect(text).toContain(`HF_ENDPOINT=${hub.endpoint}`);
      expect(text).not.toContain('hf_abcdefgh');
      const twice = await flashmoe([...SETUP, '--quant', '2bit', '--overnight'], { env });
      expect(twice.status).toBe(69);
      expect(twice.stderr).toContain('at work overnight already');
      await untilReady(home);
      await vi.waitFor(() => expect(existsSync(unit)).toBe(false), { timeout: 30_000 });
      expect(await reportOf(home)).toMatchObject({ runs: 1, killed: 0, outcome: 'finished' });
    } finally {
      linux.dispose();
    }
  });

  test('runs as a process of its own where there is no manager, and says so', async () => {
    const home = join(folder, 'detached');
    const { status, stdout, stderr } = await flashmoe([...SETUP, '--overnight'], {
      env: envOf(home),
    });
    expect({ status, stderr }).toMatchObject({ status: 0 });
    expect(stderr).toContain('it will not go on by itself after a restart');
    expect(stdout).toMatch(/handed to a process of its own \(process \d+\)/);
    await untilReady(home);
    const { stdout: report } = await flashmoe(['report'], { env: envOf(home) });
    expect(report).toContain(`${ID}: 1 run, finished`);
    expect(report).toMatch(/sha256 [0-9a-f]{64}/);
  });

  test('fails at once, before anything is handed over, where it could never begin', async () => {
    const { status, stderr } = await flashmoe(
      ['setup', '--repo', 'acme/none', '--yes', '--overnight'],
      { env: envOf(join(folder, 'never')) },
    );
    expect(status).not.toBe(0);
    expect(stderr).toContain('acme/none');
  });
});

describe('before a night', () => {
  const supply = (name: string, fields: Record<string, string>): string => {
    const root = join(folder, `power-${name}`);
    for (const [path, text] of Object.entries(fields)) {
      mkdirSync(join(root, path, '..'), { recursive: true });
      writeFileSync(join(root, path), `${text}\n`);
    }
    return root;
  };
  const linux = { platform: 'linux', env: {} } as const;
  const { signal } = new AbortController();

  test('a laptop on battery is warned about, and its lid; a machine without a battery is not', async () => {
    const laptop = { 'BAT0/type': 'Battery', 'BAT0/status': 'Discharging', 'AC/type': 'Mains' };
    const unplugged = supply('unplugged', { ...laptop, 'AC/online': '0' });
    expect(await powerWarnings(linux, signal, unplugged)).toEqual([
      expect.stringMatching(/on battery/),
      expect.stringMatching(/lid/),
    ]);
    const plugged = supply('plugged', { ...laptop, 'AC/online': '1' });
    expect(await powerWarnings(linux, signal, plugged)).toEqual([expect.stringMatching(/lid/)]);
    const mouse = {
      'hid/type': 'Battery',
      'hid/scope': 'Device',
      'AC/type': 'Mains',
      'AC/online': '1',
    };
    expect(await powerWarnings(linux, signal, supply('desk', mouse))).toEqual([]);
    expect(await powerWarnings(linux, signal, join(folder, 'none'))).toEqual([]);
  });

  test('a Mac is asked by pmset', async () => {
    const bin = join(folder, 'bin');
    mkdirSync(bin);
    const said = "Now drawing from 'Battery Power'\n -InternalBattery-0 (id=1)\t80%; discharging\n";
    writeFileSync(
      join(bin, 'pmset'),
      `#!/bin/sh\nprintf '${said.replaceAll("'", `'\\''`).replaceAll('%', '%%')}'\n`,
    );
    chmodSync(join(bin, 'pmset'), 0o755);
    const env = { PATH: `${bin}:${process.env['PATH'] ?? ''}` };
    expect(await powerWarnings({ platform: 'darwin', env }, signal)).toHaveLength(2);
  });
});
