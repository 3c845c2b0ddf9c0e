// The Metal kernels executed on this CPU, through the host code that ships: each against double-precision
// references, and whole models against reference results of transformers in float32 (test/fixtures).

import { execa } from 'execa';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { packFixture, readGolden, relativeDifference } from '../addon/golden.js';
import { packageRoot } from '../../src/base/package-root.js';
import { runJob } from '../../src/addon/load.js';
import { packDirectory, planDirectory } from '../../src/repack/pack-directory.js';
import { testCalibration } from '../installer/calibrations.js';
import { FAMILIES, testAddon } from '../repack/fixtures.js';

/** Of the logits' spread; the CPU engine is held to the same. */
const TOLERANCE = 5e-4;

/** Of what a device wraps. */
const PAGE = 16_384;

const addon = testAddon();
const source = join(packageRoot, 'test', 'metal');
const kernels = join(packageRoot, 'metal');
const programs = join(source, 'build', 'plain');

/** metal_device.mm, which only a Mac compiles otherwise, wants an Objective-C++ compiler and Foundation. */
const hasObjectiveC =
  existsSync('/usr/include/GNUstep/Foundation/Foundation.h') &&
  isAbsolute((await execa('g++', ['-print-prog-name=cc1objplus'], { reject: false })).stdout);
const skipped = 'the Objective-C++ file over a stand-in for Metal: apt install gobjc++ libgnustep-base-dev';
if (!hasObjectiveC) console.log(`SKIP ${skipped}`);

beforeAll(async () => {
  const targets = hasObjectiveC ? ['programs', 'stand-in-programs'] : ['programs'];
  await execa('make', ['-s', '-j2', '-C', source, ...targets]);
}, 600_000);

async function expectAllPassed(program: string, ...more: string[]): Promise<void> {
  const { stdout, exitCode } = await execa(join(programs, program), [kernels, ...more], { reject: false });
  console.log(stdout);
  expect(stdout.match(/FAILED.*/g) ?? []).toEqual([]);
  expect(stdout).toMatch(/^[1-9]\d* passed, 0 failed$/m);
  expect(exitCode).toBe(0);
}

test('every kernel agrees with double-precision references under three schedules, and binds what it declares', async () => {
  await expectAllPassed('metal-check');
}, 300_000);

test('what a device is short of, refuses or reports reaches whoever asked for it, by name', async () => {
  await expectAllPassed('metal-faults');
});

describe.runIf(hasObjectiveC)('metal_device.mm over a stand-in for Metal', () => {
  test('misuses nothing, leaves nothing behind and computes what the references say', async () => {
    await expectAllPassed('stand-in-check', 'forward');
  }, 300_000);

  test('opens the GPU that is there on every system, and names one that it cannot use', async () => {
    await expectAllPassed('stand-in-device');
  });

  test('hands on errors, limits and low power mode as Metal gives them', async () => {
    await expectAllPassed('stand-in-faults');
  });
});

test('metal_device.mm is sound to clang, which Apple’s compiler is one of', async () => {
  const { exitCode, all } = await execa('make', ['-s', '-C', source, 'syntax'], { reject: false, all: true });
  if (!hasObjectiveC || /clang\S*: (command not found|No such file)/.test(all)) {
    console.log('SKIP metal_device.mm as clang sees it: apt install clang gobjc++ libgnustep-base-dev');
    return;
  }
  expect({ exitCode, all }).toEqual({ exitCode: 0, all: '' });
}, 120_000);

test('every barrier is missed by something when it is left out', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'flashmoe-mutants-'));
  try {
    // Between them the two have every kind of block.
    const families = ['qwen3_5_moe', 'deepseek_v3'] as const;
    const models = families.map((family) => join(folder, family));
    for (const family of families) await packFixture(addon, family, join(folder, family));
    const { stdout } = await execa(join(programs, 'metal-mutants'), [kernels, ...models], {
      reject: false,
    });
    console.log(stdout);
    // Simd operations keep the executor's lanes together where this one does; a compiler may still move the writes
    // behind it. ThreadSanitizer, which knows that they order no memory, reports it (docs/metal-verification.md).
    const lines = readFileSync(join(kernels, 'rows.h'), 'utf8').split('\n');
    const place = lines.findIndex((line) => line.includes('A slice before this one may still be read.')) + 2;
    expect(stdout.match(/.*NOTHING.*/g)).toEqual([
      expect.stringContaining(`| rows.h:${place} | simdgroup_barrier |`),
    ]);
    expect(stdout).toMatch(/^[1-9]\d* caught, 1 missed$/m);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}, 600_000);

// Experts of two lengths and widths in one layer file: by the table of places, on the GPU's road as on the CPU's.
test('a tiered model computes what the CPU computes of it, in a pool and with all experts in memory', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'flashmoe-metal-tiered-'));
  try {
    const bundled = join(packageRoot, 'models', 'tiny');
    const packing = { addon, threads: 2 };
    const pack = await planDirectory(bundled, { ...packing, quant: '2bit' });
    const calibration = join(folder, 'calibration.safetensors');
    const uses = (expert: number, layer: number): number => (expert * 7 + layer * 3) % 32;
    await writeFile(calibration, testCalibration({ pack }, 1, uses));
    const target = join(folder, 'tiered');
    const options = { ...packing, quant: 'tiered' as const, size: 8_500_000, calibration };
    const { modelDir, expertsDir, plan } = await packDirectory(bundled, target, options);
    const kept = plan.layers.map((layer) => layer.kept?.experts.length ?? 0);
    expect(Math.max(...kept)).toBeGreaterThan(0);
    expect(Math.max(...kept)).toBeLessThan(32);
    const prompt = Int32Array.from([1, 17, 200]);
    const rest = { tokenLimit: 0, expertsPerToken: 0, threads: 2, ioThreads: 2, kernelsDir: kernels };
    const engine = await runJob(addon.openEngine({ modelDir, expertsDir, backend: 'cpu', ...rest }));
    const session = engine.createSession(prompt.length);
    const { logits: wanted } = await runJob(session.evaluate(prompt, false));
    session.close();
    engine.close();
    for (const mode of ['cached', 'resident']) {
      const out = join(folder, `${mode}.f32`);
      const args = [kernels, modelDir, expertsDir, out, '3', 'forward', mode, ...Array.from(prompt, String)];
      await execa(join(programs, 'metal-model'), args);
      const got = new Float32Array(new Uint8Array(await readFile(out)).buffer);
      const difference = relativeDifference(got.slice(0, wanted.length), wanted);
      console.log(`tiered, ${mode}: largest difference ${difference.toExponential(1)} of the spread`);
      expect(difference).toBeLessThan(TOLERANCE);
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}, 120_000);

describe.each(FAMILIES)('%s', (family) => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'flashmoe-metal-'));
    await packFixture(addon, family, folder);
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  const run = async (
    program: string,
    tokens: Int32Array,
    piece: number,
    schedule: string,
    mode: string,
    ...options: string[]
  ) => {
    const out = join(folder, 'logits.f32');
    const places = [kernels, folder, join(folder, 'packed_experts'), out];
    const { stdout } = await execa(join(programs, program), [
      ...options,
      ...places,
      String(piece),
      schedule,
      mode,
      ...Array.from(tokens, String),
    ]);
    console.log(`${family}, ${mode}, ${tokens.length} tokens by ${piece}, ${schedule}: ${stdout}`);
    const counted = /dispatches (\d+), command buffers (\d+), waits (\d+), experts read (\d+), layers \d+, of experts (\d+)/.exec(stdout) ?? [];
    const [dispatches = NaN, buffers = NaN, waits, reads = NaN, expertLayers = NaN] = counted.slice(1).map(Number);
    // Experts in a pool: once a layer for the router's answer, once for the logits. All of them in memory: only that.
    const wanted = mode === 'resident' ? 1 : expertLayers + 1;
    expect(waits).toBe(wanted);
    // A command buffer a wait, or for as many dispatches as go into one; where experts have to be read the device is handed more,
    // to compute meanwhile.
    expect(buffers).toBeGreaterThanOrEqual(wanted);
    expect(buffers).toBeLessThanOrEqual(wanted + Math.floor(dispatches / 128) + 2 * reads);
    if (mode === 'resident') expect(reads).toBe(0);
    const bytes = await readFile(out);
    return new Float32Array(new Uint8Array(bytes).buffer);
  };

  test.each([
    ['metal-model', 40, 40, 'forward', 'cached'],
    ['metal-model', 14, 7, 'reverse', 'resident'],
    ['metal-model', 3, 1, 'random', 'cached'],
    ['stand-in-model', 14, 7, 'forward', 'resident'],
  ])('%s: the reference of %i tokens, %i at a time, %s, %s', async (program, count, piece, schedule, mode) => {
    // SKIP, as said above: without its compiler there is no such program.
    if (program.startsWith('stand-in') && !hasObjectiveC) return;
    const golden = await readGolden(family);
    const prompt = golden.prompt.slice(0, count);
    const reference = golden.tensors.get('logits');
    if (!reference) throw new Error('golden.safetensors has no logits');
    const got = await run(program, prompt, piece, schedule, mode);
    const vocab = reference.length / golden.prompt.length;
    const difference = relativeDifference(got.slice(0, prompt.length * vocab), reference.slice(0, prompt.length * vocab));
    console.log(`${family}: largest difference ${difference.toExponential(1)} of the spread`);
    expect(difference).toBeLessThan(TOLERANCE);
  }, 120_000);

  test('the same bits from experts that the host asks for and from all of them, taken by number', async () => {
    const { prompt } = await readGolden(family);
    const tokens = prompt.slice(0, 5);
    const cached = await run('metal-model', tokens, 5, 'forward', 'cached');
    for (const piece of [5, 2]) {
      const resident = await run('metal-model', tokens, piece, 'random', 'resident');
      // Of the token after the prompt, which is decoded alone: pieces of a prompt may be multiplied in another order.
      const last = cached.length - cached.length / (tokens.length + 1);
      expect(resident.slice(piece === 5 ? 0 : last)).toEqual(cached.slice(piece === 5 ? 0 : last));
    }
  }, 120_000);

  test('weights, caches and experts keep to the largest buffer of a device, or are refused by name', async () => {
    const { prompt } = await readGolden(family);
    const tokens = prompt.slice(0, 2);
    const { tensors } = JSON.parse(await readFile(join(folder, 'model_weights.json'), 'utf8')) as {
      tensors: Record<string, { offset: number; size: number }>;
    };
    const pages = ({ offset, size }: { offset: number; size: number }) =>
      Math.ceil((offset + size) / PAGE) - Math.floor(offset / PAGE);
    const largest = Math.max(...Object.values(tensors).map(pages)) * PAGE;
    // What a step of these models works in.
    const most = Math.max(largest, 8 * PAGE);
    expect((await stat(join(folder, 'model_weights.bin'))).size).toBeGreaterThan(most);
    for (const mode of ['cached', 'resident']) {
      const split = await run('metal-model', tokens, 1, 'forward', mode, `--max-buffer=${most}`);
      expect(split).toEqual(await run('metal-model', tokens, 1, 'forward', mode));
    }
    await expect(run('metal-model', tokens, 1, 'forward', 'cached', `--max-buffer=${largest - PAGE}`)).rejects.toThrow(
      new RegExp(`model_weights.bin: \\S+ takes ${largest} bytes in one buffer, and the GPU takes buffers of at most ${largest - PAGE}`),
    );
  }, 120_000);
});
