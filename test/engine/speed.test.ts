import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runJob } from '../../src/addon/load.js';
import type { NativeEngine } from '../../src/addon/types.js';
import { measureSpeed, spreadTokens, type SpeedOptions } from '../../src/engine/speed.js';
import { packFixture } from '../addon/golden.js';
import { testAddon } from '../repack/fixtures.js';

const PROMPT = 24;
const DECODE = 6;

describe('measuring an engine', () => {
  let folder: string;
  let native: NativeEngine;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'flashmoe-speed-'));
    const addon = testAddon();
    native = await addon.openEngine(await packFixture(addon, 'qwen3_moe', folder)).done;
  });
  afterAll(async () => {
    native.close();
    await rm(folder, { recursive: true });
  });

  const options = (more: Partial<SpeedOptions> = {}): SpeedOptions => ({
    native,
    prompt: PROMPT,
    decode: DECODE,
    diskBytes: () => null,
    monotonic: () => performance.now(),
    signal: new AbortController().signal,
    ...more,
  });

  test('a decoded token reads the experts of its layers, a prompt each expert once at most', async () => {
    const phases: string[] = [];
    const speed = await measureSpeed(options({ onProgress: (phase) => phases.push(phase) }));
    const { expertBytesPerToken } = native.info();
    // Each use of what is in memory counts as the largest expert: this model's layers have two layouts.
    expect(speed.decodeExpertBytes).toBeGreaterThanOrEqual(expertBytesPerToken);
    expect(speed.decodeExpertBytes).toBeLessThan(1.25 * expertBytesPerToken);
    expect(speed.prefillExpertBytes).toBeGreaterThanOrEqual(expertBytesPerToken);
    expect(speed.prefillExpertBytes).toBeLessThan(PROMPT * expertBytesPerToken);
    expect(speed.prefillRate).toBeGreaterThan(0);
    expect(speed.decodeRate).toBeGreaterThan(0);
    expect(speed.waitShare).toBeGreaterThanOrEqual(0);
    expect(speed.waitShare).toBeLessThanOrEqual(1);
    expect(phases.filter((phase) => phase === 'decode')).toHaveLength(DECODE);
    expect(speed.decodeWaits).toBeGreaterThanOrEqual(0);
  });

  test('with memory for every expert a second prompt finds all of them there and reads nothing', async () => {
    await runJob(native.resizeExperts(Infinity));
    await measureSpeed(options());
    const speed = await measureSpeed(options());
    expect(speed).toMatchObject({ prefillExpertHits: 1, decodeExpertHits: 1 });
    expect(speed).toMatchObject({ decodeReadBytes: 0, decodeWaits: 0 });
  });

  test('what no disk delivered came from the page cache, and is unknown where nobody counts', async () => {
    const { decodeExpertBytes } = await measureSpeed(options());
    const counts = [0, 1000, 1000 + (DECODE * decodeExpertBytes) / 4];
    const counted = await measureSpeed(options({ diskBytes: () => counts.shift() ?? null }));
    expect(counted).toMatchObject({ prefillDiskBytes: 1000, hitRate: 0.75 });
    expect(counted.decodeDiskBytes).toBe(decodeExpertBytes / 4);
    expect(await measureSpeed(options())).toMatchObject({
      prefillDiskBytes: null,
      decodeDiskBytes: null,
      hitRate: null,
    });
  });

  test('an abort ends it with the session closed', async () => {
    const abort = new AbortController();
    const onProgress = () => abort.abort();
    await expect(measureSpeed(options({ signal: abort.signal, onProgress }))).rejects.toMatchObject(
      { code: 'ERR_INTERRUPTED' },
    );
    await measureSpeed(options());
  });
});

test('prompts for measuring stay within any vocabulary and spread over it', () => {
  for (const vocab of [16, 512, 151_936]) {
    const tokens = [...spreadTokens(600, vocab)];
    expect(Math.min(...tokens)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...tokens)).toBeLessThan(vocab);
    expect(new Set(tokens).size).toBeGreaterThan(Math.min(600, vocab) / 2);
  }
});
