import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { packageRoot } from '../../src/base/package-root.js';
import { CATALOG, catalogEntry, entryForRepo, modelIdForRepo } from '../../src/models/catalog.js';
import { SUPPORTED_MODEL_TYPES } from '../../src/models/registry.js';
import { estimate, verdict } from '../../src/models/verdict.js';
import { planDirectory } from '../../src/repack/pack-directory.js';
import { testAddon } from '../repack/fixtures.js';

const GB = 1e9;
const GiB = 1024 ** 3;

test('every entry is of a supported family and has ids that are safe as folder names', () => {
  for (const entry of CATALOG) {
    expect(SUPPORTED_MODEL_TYPES).toContain(entry.modelType);
    expect(entry.id).toMatch(/^[a-z0-9][a-z0-9.-]*$/);
    expect(entryForRepo(entry.repo.toUpperCase())).toBe(entry);
  }
});

test('docs/performance.md says what a checkpoint of each model costs', () => {
  const page = readFileSync(join(packageRoot, 'docs', 'performance.md'), 'utf8');
  const rows = page.split('\n').filter((line) => /^\| .* \| [\d.]+ \|$/.test(line));
  for (const { id, stateBytes } of CATALOG) {
    const megabytes = (stateBytes / 1e6).toFixed(stateBytes > 0 && stateBytes < 1e6 ? 2 : 0);
    const row = rows.find((line) => line.slice(2).split(/[, |]+/).includes(id));
    expect(row?.endsWith(`| ${megabytes} |`), `${id}: ${megabytes} MB, ${row}`).toBe(true);
  }
});

test('the entry of the bundled model has the numbers of the bundled files', async () => {
  const entry = catalogEntry('tiny');
  const folder = join(packageRoot, 'models', 'tiny');
  for (const quant of ['4bit', '2bit'] as const) {
    const plan = await planDirectory(folder, { addon: testAddon(), quant, threads: 1 });
    expect(entry).toMatchObject({
      routedLayers: plan.layers.length,
      experts: plan.layers[0]?.experts,
      denseBytes: plan.dense.size,
      shards: plan.shards.length,
      downloadBytes: plan.shards.reduce((sum, { size }) => sum + size, 0),
      largestShardBytes: Math.max(...plan.shards.map(({ size }) => size)),
      contextLength: plan.spec.maxPositions,
    });
    expect(entry.expertBytes[quant]).toBe(plan.layouts[0]?.expert_stride);
  }
});

test('an unknown model is an error that names those that begin alike, if there are some', () => {
  expect(() => catalogEntry('gpt-5')).toThrow(/"gpt-5"; did you mean one of gpt-oss-120b\?$/);
  expect(() => catalogEntry('llama')).toThrow(/"llama"$/);
  expect(catalogEntry('Kimi-K2').id).toBe('kimi-k2');
});

describe('an id for any repository', () => {
  test('is the catalogue id for a repository we name', () => {
    expect(modelIdForRepo('mlx-community/Qwen3.5-397B-A17B-4bit')).toBe('qwen3.5-397b');
  });
  test('is otherwise both parts in lower case', () => {
    expect(modelIdForRepo('Some_Org/My.Model-4bit')).toBe('some_org--my.model-4bit');
  });
  test.each([
    '', 'model', 'a/b/c', '../etc', 'a/..', './b', 'a/.b', 'a/b..c', 'a/b/', '/a/b', 'a\\b/c', 'a/b c', 'a/b\n', 'a/b\0', 'a/-b', 'a/b-', 'a/b--c', 'ä/b', `a/${'b'.repeat(97)}`,
  ])('is refused for %j', (repo) => {
    expect(() => modelIdForRepo(repo)).toThrow(expect.objectContaining({ code: 'ERR_USAGE' }) as Error);
  });
});

describe('a verdict', () => {
  const mac48 = { memoryBytes: 48 * GiB, freeBytes: 400 * GB, readBytesPerSecond: 6.5 * GB };
  const big = catalogEntry('qwen3.5-397b');

  test('on 48 GB the 397B runs from the SSD at a speed that the disk gives', () => {
    const { level, tokensPerSecond } = verdict(big, '4bit', mac48);
    expect(level).toBe('good');
    // One token reads 4.247 GB of experts when nothing is cached.
    expect(estimate(big, '4bit').bytesPerToken).toBe(4_246_732_800);
    expect(tokensPerSecond?.low).toBeCloseTo(3.25 / 4.2467, 3);
    expect(tokensPerSecond?.high).toBeGreaterThan(6.5 / 4.2467);
    expect(tokensPerSecond?.high).toBeLessThan(6.5 / 4.2467 / 0.7);
  });

  test('two bits read less and need less', () => {
    const [four, two] = [verdict(big, '4bit', mac48), verdict(big, '2bit', mac48)];
    expect(two.tokensPerSecond?.low).toBeCloseTo((four.tokensPerSecond?.low ?? 0) * 1.8, 6);
    expect(estimate(big, '2bit').finalBytes).toBe(5_516_028_032 + 120_795_955_200);
  });

  test('names the memory or the disk that is missing', () => {
    const memory = verdict(catalogEntry('deepseek-v3-0324'), '4bit', { ...mac48, memoryBytes: 16 * GiB });
    expect(memory).toMatchObject({ level: 'no', tokensPerSecond: null });
    expect(memory.text).toMatch(/needs .* this machine has 16\.0 GiB/);
    const disk = verdict(big, '4bit', { ...mac48, freeBytes: 100 * GB });
    expect(disk.level).toBe('no');
    expect(disk.text).toMatch(/needs 238 GB free during setup; 100 GB are/);
  });

  test('an installed model needs no space, and an unmeasured disk no promise', () => {
    const installed = { ...mac48, freeBytes: null, readBytesPerSecond: null };
    expect(verdict(big, '4bit', installed)).toEqual({
      level: 'good',
      text: 'runs from the SSD',
      tokensPerSecond: null,
    });
  });

  test('a model that fits in memory is told to be faster elsewhere', () => {
    const small = verdict(catalogEntry('qwen3.5-35b'), '4bit', mac48);
    expect(small.level).toBe('small');
  });

  test('a slow disk or tight memory is said beforehand', () => {
    const usb = verdict(big, '4bit', { ...mac48, readBytesPerSecond: 1 * GB });
    expect(usb).toMatchObject({ level: 'slow' });
    const tight = verdict(big, '4bit', { ...mac48, memoryBytes: 12 * GiB });
    expect(tight).toMatchObject({ level: 'slow', text: expect.stringContaining('memory is tight') as string });
  });
});
