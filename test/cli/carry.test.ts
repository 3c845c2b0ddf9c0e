// Looking after what is on disk: verify --repair, rm, mv, share, --from. Real processes, real HTTP.

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { BUILD_MS, buildCli, flashmoe, mainScript, projectRoot } from '../helpers/built-cli.js';
import { FaultHub } from '../helpers/hub/fault-hub.js';
import { drip } from '../helpers/hub/faults.js';
import { hashesBelow } from '../installer/provisioned.js';

vi.setConfig({ testTimeout: 120_000 });

const folder = mkdtempSync(join(tmpdir(), 'flashmoe-carry-'));
const home = join(folder, 'home');
const root = join(home, 'models/acme--tiny');
let hub: FaultHub;
let hashes: Record<string, string>;
beforeAll(async () => {
  await buildCli();
  hub = await FaultHub.start(join(projectRoot, 'models/tiny'), 'acme/tiny');
  const set = await at(['setup', '--repo', 'acme/tiny', '--no-service', '--yes']);
  expect(set).toMatchObject({ status: 0 });
  hashes = await hashesBelow(root);
}, BUILD_MS);
afterAll(async () => {
  await hub.close();
  rmSync(folder, { recursive: true, force: true });
});

const environment = (extra: Record<string, string> = {}): Record<string, string> => ({
  ...{ FLASHMOE_HOME: home, HF_ENDPOINT: hub.endpoint, ...extra },
});
const at = (args: string[], extra: Record<string, string> = {}) =>
  flashmoe(args, { env: environment(extra) });

function start(args: string[]): ChildProcess {
  return spawn(process.execPath, [mainScript, ...args], {
    env: { PATH: process.env['PATH'], ...environment() },
    stdio: 'ignore',
  });
}

function flip(path: string): void {
  const bytes = readFileSync(path);
  bytes[1000] = (bytes[1000] ?? 0) ^ 1;
  writeFileSync(path, bytes);
}

describe('verify --repair', () => {
  const layer = join(root, 'packed_experts/layer_02.bin');

  test('fetches what is damaged and nothing else, and says what it fetched', async () => {
    flip(layer);
    flip(join(root, 'tokenizer.json'));
    const found = await at(['verify']);
    expect(found.status).toBe(1);
    expect(found.stdout).toContain('layer_02.bin its content changed in block 0 of 1');
    expect(found.stderr).toContain('hint: `flashmoe verify acme--tiny --repair`');
    hub.reset();
    const { status, stdout } = await at(['verify', '--repair']);
    expect(stdout).toMatch(/layer_02\.bin block 0 made anew, .* fetched/);
    expect(stdout).toMatch(/tokenizer\.json made anew/);
    expect(stdout).toMatch(/acme--tiny: \d+ files, .* every hash is right/);
    expect(status).toBe(0);
    expect(await hashesBelow(root)).toEqual(hashes);
  });

  test('without the network says so, and leaves what it found written down', async () => {
    flip(layer);
    const offline = { HF_HUB_OFFLINE: '1', HF_ENDPOINT: 'https://huggingface.co' };
    const { status, stderr } = await at(['verify', '--repair'], offline);
    expect(status).toBe(69);
    expect(stderr).toMatch(/HF_HUB_OFFLINE/);
    expect(readFileSync(join(root, 'journal.ndjson'), 'utf8').trimEnd()).toMatch(/damaged[^\n]*$/);
  });

  test('that is killed leaves a model known to be damaged, and is simply run again', async () => {
    flip(join(root, 'model_weights.bin'));
    hub.reset();
    hub.rule({ on: 'cdn', fault: drip(4096, 20) });
    const child = start(['verify', '--repair']);
    const ended = once(child, 'exit');
    await vi.waitFor(() => expect(hub.ranges('cdn').length).toBeGreaterThan(1), 60_000);
    child.kill('SIGKILL');
    await ended;
    hub.reset();
    expect((await at(['verify'])).status).toBe(1);
    const { status, stdout } = await at(['verify', '--repair', '--json']);
    expect(status).toBe(0);
    const last = JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as object;
    expect(last).toMatchObject({
      ok: true,
      models: [{ id: 'acme--tiny', repaired: [{ blocks: [0] }, { blocks: [0] }] }],
    });
    expect(await hashesBelow(root)).toEqual(hashes);
  });

  test('makes a manifest that can no longer be read anew from the journal', async () => {
    writeFileSync(join(root, 'manifest.json'), '{"format": "flashmoe-mod');
    const found = await at(['verify']);
    expect(found.status).toBe(1);
    expect(found.stdout).toContain('manifest.json is no manifest any more');
    expect((await at(['verify', '--repair'])).status).toBe(0);
    expect((await at(['verify'])).status).toBe(0);
  });
});
