// What a machine measures of itself: through the real command and the real addon, and with machines that fail in the middle.

import { execFile } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { probeRates } from '../../src/addon/measure-probe.js';
import { addRows } from '../../src/measure/machine-page.js';
import {
  readReport,
  type MachineReport,
  type ModelReport,
} from '../../src/measure/machine-report.js';
import { measureMachine, type Measurements } from '../../src/measure/measure-machine.js';
import { reportMarkdown } from '../../src/measure/report-text.js';
import { BUILD_MS, buildCli, flashmoe, projectRoot } from '../helpers/built-cli.js';

vi.setConfig({ testTimeout: 300_000 });

const folder = mkdtempSync(join(tmpdir(), 'flashmoe-measure-'));
const at = (...args: string[]) => flashmoe(args, { env: { FLASHMOE_HOME: join(folder, 'home') } });
const page = join(projectRoot, 'docs', 'machines.md');

beforeAll(buildCli, BUILD_MS);
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

const run = promisify(execFile);
const addMachine = (...args: string[]) =>
  run(process.execPath, [join(projectRoot, 'tools/add-machine.mjs'), ...args]).then(
    ({ stdout }) => ({ status: 0, stdout, stderr: '' }),
    (error: { code: number; stdout: string; stderr: string }) => ({
      status: error.code,
      stdout: error.stdout,
      stderr: error.stderr,
    }),
  );

describe('the commands, on this machine', () => {
  const paths = { report: join(folder, 'found.json'), speed: join(folder, 'speed.json') };

  test('a self-test with a report measures, and writes a file and a table without names', async () => {
    expect(await at('setup', 'tiny', '--yes')).toMatchObject({ status: 0 });
    const result = await at('doctor', '--self-test', '--report', paths.report);
    expect(result).toMatchObject({ status: 0 });
    expect(result.stderr).toMatch(/measuring 7 of 7: tokens a second of tiny/);
    const text = readFileSync(join(folder, 'found-machine.json'), 'utf8');
    const report = readReport(text) as MachineReport;
    expect(report.selfTest.cpu).toMatchObject({ agreed: expect.any(Number) as number });
    expect(report.kernels.cpu).toMatchObject({
      operations: expect.arrayContaining([
        expect.objectContaining({ name: 'lm_head, 4-bit 65536x4096', bytes: 151_273_472 }),
      ]) as object[],
    });
    expect(report.models).toMatchObject([
      {
        model: 'tiny',
        runs: [{ experts: 'kept' }, { cache: 'warm' }, { experts: 'not kept' }],
      },
    ]);
    for (const name of [hostname(), userInfo().homedir, folder]) expect(text).not.toContain(name);
    expect(result.stdout).toContain(reportMarkdown(report).trim());
  });

  test('a benchmark that is published is a row, and the file that makes it', async () => {
    const bench = ['bench', 'tiny', '--prompt', '32', '--decode', '8'];
    const result = await at(...bench, '--publish', paths.speed);
    expect(result).toMatchObject({ status: 0 });
    const report = readReport(readFileSync(paths.speed, 'utf8')) as ModelReport;
    expect(report.speed).toMatchObject({ model: 'tiny', prompt: 32, decode: 8 });
    expect(result.stdout).toMatch(/^\| .* \| tiny \| 4bit \|/m);
  });

  test('the script adds their rows to the page, once, and refuses what is no report', async () => {
    const copy = join(folder, 'machines.md');
    copyFileSync(page, copy);
    const machine = join(folder, 'found-machine.json');
    for (const path of [machine, paths.speed]) {
      const { status, stdout } = await addMachine(path, copy);
      expect(status).toBe(0);
      expect(readFileSync(copy, 'utf8')).toContain(stdout);
    }
    const filled = readFileSync(copy, 'utf8');
    expect(await addMachine(machine, copy)).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('already') as string,
    });
    const broken = join(folder, 'broken.json');
    const report = JSON.parse(readFileSync(machine, 'utf8')) as Record<string, unknown>;
    for (const [wrong, says] of [
      ['{', 'this is not JSON'],
      ['null', 'no report of flashmoe'],
      [JSON.stringify({ ...report, format: 'other' }), 'no report of flashmoe'],
      [JSON.stringify({ ...report, day: 'today' }), 'day: '],
      [JSON.stringify({ ...report, owner: 'a name' }), 'owner'],
      [JSON.stringify({ ...report, machine: { cpu: 'a chip' } }), 'machine.'],
      ['x'.repeat(1_000_001), 'larger than'],
    ] as const) {
      writeFileSync(broken, wrong);
      const refused = await addMachine(broken, copy);
      expect(refused).toMatchObject({ status: 1, stdout: '' });
      expect(refused.stderr).toContain(says);
    }
    expect(readFileSync(copy, 'utf8')).toBe(filled);
  });
});

describe('a machine that is measured', () => {
  const machine = {
    ...{ platform: 'darwin' as const, arch: 'arm64', release: '25.1.0', cpu: 'Apple | chip' },
    ...{ cores: 16, memoryBytes: 64e9, gpu: null, recommendedWorkingSetBytes: null },
  };
  const rates = {
    operations: [{ name: 'lm_head, 4-bit', bytes: 1e8, seconds: 1e-3, deviceSeconds: 8e-4 }],
    waitSeconds: 1e-4,
  };
  const good: Measurements = {
    selfTest: () => Promise.resolve({ agreed: 49, of: 49 }),
    kernels: () => Promise.resolve(rates),
    wired: () => Promise.resolve({ fileBytes: 5e8, mappedBytes: -4096, allocatedBytes: 5e8 }),
    reads: () =>
      Promise.resolve({
        expertBytes: 1e6,
        rates: [{ way: 'direct', depth: 8, bytesPerSecond: 5e9 }],
      }),
    models: [],
  };
  const measure = (
    measurements: Measurements,
    { signal = new AbortController().signal, limitMs = 60_000 } = {},
  ) =>
    measureMachine(measurements, {
      ...{ version: '1.0.0', day: '2026-11-30', machine, signal, limitMs },
      monotonic: () => performance.now(),
      onProgress: () => undefined,
    });

  test('gives a row whose cells are as many as the titles, a bar in a name included', async () => {
    const { added } = addRows(readFileSync(page, 'utf8'), await measure(good));
    expect(added).toEqual([
      '| Apple / chip | 64.0 | darwin 25.1.0 | 1.0.0 | 2026-11-30 | 49 of 49 | 100.0 | 100.0 | 100 | 0 bytes / 500 MB | / 5.00 |  |',
    ]);
    const report = await measure(good);
    expect(() => addRows('# no table\n', report)).toThrow('the page has no table');
  });

  test('goes on behind a measurement that fails, and says why there are no figures', async () => {
    const report = await measure({
      ...good,
      wired: () => Promise.reject(new Error('no such call')),
    });
    expect(report.wired).toEqual({ notRun: 'no such call' });
    expect(report.reads).toMatchObject({ expertBytes: 1e6 });
    expect(reportMarkdown(report)).toContain('* wired memory: not run, no such call');
  });

  test('ends at its limit: what runs is stopped, what is left is not begun', async () => {
    const hangs = (signal: AbortSignal) =>
      new Promise<never>((_, fail) => {
        signal.addEventListener('abort', () => {
          fail(new Error('stopped'));
        });
      });
    const reads = vi.fn(good.reads);
    const report = await measure({ ...good, wired: hangs, reads }, { limitMs: 200 });
    expect(report.wired).toMatchObject({
      notRun: expect.stringContaining('not reached') as string,
    });
    expect(report.reads).toMatchObject({
      notRun: expect.stringContaining('not reached') as string,
    });
    expect(reads).not.toHaveBeenCalled();
  });

  test('an abort ends it without a report', async () => {
    const abort = new AbortController();
    const wired = () => {
      abort.abort(new Error('Ctrl-C'));
      return Promise.reject(new Error('stopped'));
    };
    await expect(measure({ ...good, wired }, { signal: abort.signal })).rejects.toThrow('Ctrl-C');
  });

  test('a driver that takes the process along is a reason, not the end', async () => {
    const path = join(folder, 'addon.cjs');
    writeFileSync(
      path,
      `exports.metalDevice = () => ({ device: { name: 'a GPU' }, reason: '' });
exports.measureRates = () => process.kill(process.pid, 'SIGSEGV');`,
    );
    const probe = { path, backend: 'metal' as const, kernelsDir: '', node: process.execPath };
    const { signal } = new AbortController();
    expect(await probeRates(probe, 1, signal)).toMatch(/crashed with SIGSEGV/);
  });
});
