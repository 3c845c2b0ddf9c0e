// What the doctor measures, and what it asks models: real files, the real addon.

import { existsSync, mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { loadAddon } from '../../src/addon/load.js';
import { measureReadRates, type DepthRate } from '../../src/addon/read-rate.js';
import { FlashmoeError } from '../../src/base/errors.js';
import type { DoctorContext } from '../../src/doctor/context.js';
import { hubSettings } from '../../src/hub/settings.js';
import { tokenVerdict } from '../../src/hub/whoami.js';
import { findMount } from '../../src/machine/volume-facts.js';
import { parseProcMemory } from '../../src/machine/memory-facts.js';
import { projectRoot } from '../helpers/built-cli.js';
import { findings, modelFiles, signal, testWorld } from './test-context.js';

const addonPath = join(projectRoot, 'build/Release/flashmoe.node');
const isBuilt = existsSync(addonPath);
if (!isBuilt) console.log('SKIP uncached reads: the addon is not built, run `make build`');

const STRIDE = 1_769_472;
const selfTest = { ok: true, backend: 'cpu', isa: 'scalar', checks: [] };

/** A model of one layer file with holes: its bytes cost no disk, its size is real. */
function worldWithLayer(bytes: number, change: Partial<DoctorContext> = {}): DoctorContext {
  const world = testWorld();
  const root = join(world.home.models, 'qwen3.5-35b');
  mkdirSync(join(root, 'packed_experts'), { recursive: true });
  const layer = join(root, 'packed_experts/layer_00.bin');
  writeFileSync(layer, '');
  truncateSync(layer, bytes);
  const layout = { layouts: [{ expert_stride: STRIDE }] };
  writeFileSync(join(root, 'packed_experts/layout.json'), JSON.stringify(layout));
  const files = [{ path: 'packed_experts/layer_00.bin', size: bytes }];
  const complete = [modelFiles('qwen3.5-35b', root, files)];
  return {
    ...world,
    addonPaths: [process.execPath],
    probeAddon: () => Promise.resolve({ ok: true, selfTest }),
    models: () => Promise.resolve({ complete, unfinished: [], unreadable: [] }),
    ...change,
  };
}

describe.skipIf(!isBuilt)('uncached reads', () => {
  const { addon } = isBuilt ? loadAddon([addonPath]) : { addon: null as never };
  const read = (expertBytes: number, depths: number[], files: string[]): Promise<DepthRate[]> =>
    measureReadRates(addon, { files, expertBytes, depths, milliseconds: 100, seed: 7, signal });

  test('the doctor measures whole experts at three depths and says what they allow', async () => {
    const world = worldWithLayer(300e6, {
      measureReads: ({ files, expertBytes }) => read(expertBytes, [1, 4, 8], files),
    });
    const [finding] = await findings('disk.read', world);
    expect(['ok', 'info']).toContain(finding?.severity);
    expect(finding?.title).toMatch(/uncached reads of 1\.77 MB: .* at 1, .* at 4, .* at 8$/);
    if (finding?.severity === 'ok') {
      expect(finding.why).toMatch(/allows qwen3\.5-35b .* tokens\/s; others report .*M1 Pro 16 GB/);
    }
  });

  test('only whole reads are counted, and files shorter than one are passed over', async () => {
    const world = worldWithLayer(3 * STRIDE);
    const root = join(world.home.models, 'qwen3.5-35b/packed_experts');
    const [rate] = await read(STRIDE, [2], [join(root, 'layer_00.bin')]);
    expect(rate?.bytes).toBe((rate?.reads ?? 0) * STRIDE);
    expect(rate?.reads).toBeGreaterThan(0);
    expect(await read(STRIDE, [2], [join(root, 'layout.json')])).toEqual([]);
  });

  test('a file that is not there fails with its name, and an abort ends the reads', async () => {
    await expect(read(STRIDE, [1], ['/nowhere/layer_00.bin'])).rejects.toMatchObject({
      code: 'ERR_IO',
      message: expect.stringContaining('/nowhere/layer_00.bin') as string,
    });
    const layer = join(
      worldWithLayer(300e6).home.models,
      'qwen3.5-35b/packed_experts/layer_00.bin',
    );
    const task = {
      files: [layer],
      expertBytes: STRIDE,
      depths: [1],
      milliseconds: 60_000,
      seed: 1,
    };
    const aborted = AbortSignal.timeout(50);
    await expect(measureReadRates(addon, { ...task, signal: aborted })).rejects.toMatchObject({
      code: 'ERR_INTERRUPTED',
    });
  });
});

test('without a model, and with one too small to tell, nothing is measured and the reason is said', async () => {
  expect(await findings('disk.read', testWorld())).toMatchObject([{ severity: 'skip' }]);
  const [small] = await findings('disk.read', worldWithLayer(3 * STRIDE));
  expect(small).toMatchObject({ severity: 'skip' });
  expect(small?.title).toContain('too little to tell');
});

test('a rate that no storage of the chip reaches is told as partly memory’s', async () => {
  const rate = { bytes: 1, reads: 1, seconds: 1, uncached: true, depth: 8, bytesPerSecond: 17.5e9 };
  const world = worldWithLayer(300e6, { measureReads: () => Promise.resolve([rate]) });
  const onMac = (cpuModel: string): DoctorContext => ({
    ...world,
    host: { ...world.host, platform: 'darwin', cpuModel },
  });
  expect((await findings('disk.read', onMac('Apple M4 Max')))[0]).toMatchObject({
    severity: 'info',
    why: expect.stringContaining('came from memory') as string,
  });
  expect((await findings('disk.read', onMac('Apple M5 Max')))[0]).toMatchObject({ severity: 'ok' });
});

test('a model that fails its known answers fails with what it answered', async () => {
  const wrong = new FlashmoeError(
    'ERR_KNOWN_ANSWER',
    'm does not give its known answers\n  17 * 23: 12',
  );
  const world = worldWithLayer(STRIDE, { askKnown: () => Promise.reject(wrong) });
  const [finding] = await findings('models.answers', world);
  expect(finding).toMatchObject({ severity: 'fail', hint: 'flashmoe verify qwen3.5-35b' });
  expect(finding?.title).toContain('17 * 23: 12');
});

// --- the token, against a real server

async function verdictOf(
  status: number,
): Promise<{ sent: (string | undefined)[]; state?: string }> {
  const sent: (string | undefined)[] = [];
  const hub = createServer((request, response) => {
    sent.push(`${request.url} ${request.headers.authorization}`);
    response.writeHead(status).end('{}');
  });
  await new Promise<void>((resolve) => hub.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void hub.close());
  const { port } = hub.address() as AddressInfo;
  const env = { HF_TOKEN: 'hf_abcdef', HF_ENDPOINT: `http://127.0.0.1:${port}` };
  const { settings } = await hubSettings({ env, homeDirectory: '/nowhere', userAgent: 'test' });
  const verdict = await tokenVerdict(settings, signal);
  return { sent, ...(verdict === null ? {} : { state: verdict.state }) };
}

test.each([
  [200, 'valid'],
  [401, 'refused'],
  [503, 'unknown'],
])('a hub that answers %i makes the token %s', async (status, state) => {
  expect(await verdictOf(status)).toEqual({ sent: ['/api/whoami-v2 Bearer hf_abcdef'], state });
});

test('the token is not sent where others can read it', async () => {
  const env = { HF_TOKEN: 'hf_abcdef', HF_ENDPOINT: 'http://hub.example' };
  const { settings } = await hubSettings({ env, homeDirectory: '/nowhere', userAgent: 'test' });
  expect(await tokenVerdict(settings, signal)).toMatchObject({ state: 'unknown' });
});

// --- Linux

test('the mount of a path is the longest one above it, with spaces in its name', () => {
  const table = [
    '22 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw',
    '90 22 8:17 / /media/me/Big\\040Disk rw,nosuid shared:9 - exfat /dev/sdb1 rw',
    '91 22 8:18 / /media/me/Big rw - xfs /dev/sdb2 rw',
  ].join('\n');
  expect(findMount(table, '/media/me/Big Disk/models')).toMatchObject({ fileSystem: 'exfat' });
  expect(findMount(table, '/home/me')).toMatchObject({ fileSystem: 'ext4', device: '259:2' });
});

test('stalls make the pressure, and swap is what is not free of it', () => {
  const memory =
    'MemTotal: 16 kB\nMemAvailable:    2048 kB\nSwapTotal:  4096 kB\nSwapFree: 1024 kB\n';
  const stalls = (full: string): string =>
    `some avg10=9.00 avg60=0\nfull avg10=${full} avg60=0.00\n`;
  expect(parseProcMemory(memory, stalls('0.00'))).toEqual({
    pressure: 'normal',
    swapUsedBytes: 3072 * 1024,
    availableBytes: 2048 * 1024,
  });
  expect(parseProcMemory(memory, stalls('25.10')).pressure).toBe('critical');
  expect(parseProcMemory('', '').pressure).toBeNull();
});
