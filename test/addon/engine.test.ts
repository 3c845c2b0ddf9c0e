// The engine through the addon: what JavaScript sees of errors, jobs, sessions and sampling.

import { mkdtemp, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runJob } from '../../src/addon/load.js';
import type {
  EngineOptions,
  NativeEngine,
  SamplingParams,
  StatePart,
} from '../../src/addon/types.js';
import { FlashmoeError } from '../../src/base/errors.js';
import type { DenseManifest } from '../../src/models/spec.js';
import { testAddon } from '../repack/fixtures.js';
import { GREEDY, packFixture } from './golden.js';

const addon = testAddon();
const noProgress = () => undefined;
const PROMPT = Int32Array.from({ length: 40 }, (_, i) => (i * 37) % 490);

let folder: string;
let options: EngineOptions;
let engine: NativeEngine;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'flashmoe-engine-'));
  options = await packFixture(addon, 'qwen3_5_moe', folder);
  engine = await addon.openEngine({ ...options, tokenLimit: 499 }).done;
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function failure(action: () => Promise<unknown>): Promise<FlashmoeError> {
  try {
    await action();
  } catch (thrown) {
    if (thrown instanceof FlashmoeError) return thrown;
    const { code, message } = thrown as { code?: string; message: string };
    return new FlashmoeError(code as 'ERR_ENGINE', message);
  }
  throw new Error('nothing was thrown');
}

test('the self-test runs every kernel of the chosen instruction set and passes', () => {
  const { ok, backend, isa, checks } = addon.selfTest();
  expect(backend).toBe('cpu');
  expect(['avx512', 'avx2', 'neon', 'scalar']).toContain(isa);
  expect(checks.length).toBeGreaterThan(15);
  expect(checks.filter((check) => !check.ok)).toEqual([]);
  expect(ok).toBe(true);
});

test('info tells the sizes that planning memory and disk needs', () => {
  const info = engine.info();
  expect(info).toMatchObject({ vocabSize: 512, maxPositions: 4096, layers: 8, expertsPerToken: 4 });
  // 8 layers of 4 experts of 3 * 64 * 128 4-bit weights with a 16-bit scale and bias for every 64.
  expect(info.expertBytesPerToken).toBe(8 * 4 * 3 * 64 * 128 * 0.5625);
  // 2 attention layers of 2 heads of 64 for keys and for values, 16 bits each and a scale a head.
  expect(info.kvBytesPerToken).toBe(2 * 2 * 2 * (64 * 2 + 4));
  expect(info.stateBytes).toBeGreaterThan(6 * 4 * 32 * 32 * 4);
});

test('a model that is damaged or gone is refused with the file in the message', async () => {
  const layer = join(options.expertsDir, 'layer_03.bin');
  await rename(layer, `${layer}.away`);
  const missing = await failure(() => runJob(addon.openEngine(options)));
  expect(missing.code).toBe('ERR_MODEL_MISSING');
  expect(missing.message).toContain('layer_03.bin');
  await rename(`${layer}.away`, layer);

  // A router read at half its width is fluent nonsense: the shapes have to give it away.
  const manifest = join(options.modelDir, 'model_weights.json');
  const text = await readFile(manifest, 'utf8');
  const json = JSON.parse(text) as DenseManifest;
  const router = Object.keys(json.tensors).find((name) => name.endsWith('mlp.gate.weight')) ?? '';
  Object.assign(json.tensors[router] ?? {}, { bits: 4 });
  await writeFile(manifest, JSON.stringify(json));
  const damaged = await failure(() => runJob(addon.openEngine(options)));
  expect(damaged.code).toBe('ERR_MODEL_DAMAGED');
  expect(damaged.message).toContain(`model_weights.json: ${router} has shape`);
  await writeFile(manifest, text);
});

test('a layer file that shrinks while the engine runs fails the step, not the engine', async () => {
  const own = await mkdtemp(join(tmpdir(), 'flashmoe-shrink-'));
  try {
    const other = await packFixture(addon, 'qwen3_5_moe', own);
    const opened = await addon.openEngine(other).done;
    const session = opened.createSession(100);
    await session.prefill(PROMPT, noProgress).done;
    const before = session.logits();
    const layer = join(other.expertsDir, 'layer_05.bin');
    const bytes = await readFile(layer);
    await truncate(layer, 1000);
    const error = await failure(() => runJob(session.prefill(PROMPT, noProgress)));
    expect(error.code).toBe('ERR_IO');
    expect(error.message).toMatch(
      /layer_05\.bin: expert \d+: read of \d+ bytes at offset \d+ fell short/,
    );
    expect(session.length()).toBe(PROMPT.length);
    expect(session.logits()).toEqual(before);
    await writeFile(layer, bytes);
    await session.prefill(PROMPT, noProgress).done;
    expect(session.length()).toBe(2 * PROMPT.length);
  } finally {
    await rm(own, { recursive: true, force: true });
  }
});

test('a prompt beyond the context is refused before any work, and says both numbers', async () => {
  const session = engine.createSession(30);
  const error = await failure(() => runJob(session.prefill(PROMPT, noProgress)));
  expect(error.code).toBe('ERR_CONTEXT');
  expect(error.message).toContain("40 tokens after 0 exceed the session's context of 30");
  await expect(failure(() => Promise.resolve(engine.createSession(4097)))).resolves.toMatchObject({
    code: 'ERR_CONTEXT',
  });
});

test('a cancelled prefill rejects with ERR_INTERRUPTED and leaves the state as it was', async () => {
  const session = engine.createSession(4096);
  await session.prefill(PROMPT, noProgress).done;
  const before = session.logits();
  const long = Int32Array.from({ length: 1000 }, (_, i) => i % 400);
  const job = session.prefill(long, noProgress);
  const error = await failure(() => runJob(job, AbortSignal.abort()));
  expect(error.code).toBe('ERR_INTERRUPTED');
  expect(session.length()).toBe(PROMPT.length);
  expect(session.logits()).toEqual(before);
});

test('progress counts tokens up to the total', async () => {
  const session = engine.createSession(400);
  const seen: [number, number][] = [];
  const tokens = Int32Array.from({ length: 300 }, (_, i) => i);
  const stats = await session.prefill(tokens, (done, total) => seen.push([done, total])).done;
  expect(stats.tokens).toBe(300);
  expect(stats.expertReads).toBeGreaterThan(0);
  expect(stats.expertBytesRead).toBe(stats.expertReads * 3 * 64 * 128 * 0.5625);
  expect(seen.at(-1)).toEqual([300, 300]);
  expect(seen.every(([done], i) => done >= (seen[i - 1]?.[0] ?? 0))).toBe(true);
});

test('a session at work refuses other calls, and close during work is safe', async () => {
  const session = engine.createSession(400);
  const job = session.prefill(PROMPT, noProgress);
  expect(() => session.length()).toThrow(/at work/);
  expect(() => session.decode(1)).toThrow(/at work/);
  session.close();
  expect((await job.done).tokens).toBe(PROMPT.length);
  expect(() => session.length()).toThrow(/closed/);
});

test('two sessions of one engine work at the same time without touching each other', async () => {
  const alone = engine.createSession(100);
  await alone.prefill(PROMPT, noProgress).done;
  const first = engine.createSession(100);
  const second = engine.createSession(100);
  const jobs = [first, second].map((session) => session.prefill(PROMPT, noProgress).done);
  await Promise.all(jobs);
  expect(first.logits()).toEqual(alone.logits());
  expect(second.logits()).toEqual(alone.logits());
});

test('a session goes on after its engine is closed', async () => {
  const short = await addon.openEngine(options).done;
  const session = short.createSession(64);
  short.close();
  expect(() => short.info()).toThrow(/closed/);
  expect((await session.decode(5).done).tokens).toBe(1);
});

test('sampling is fixed by the seed, obeys mask and bias, and never takes a padding id', async () => {
  const session = engine.createSession(100);
  await session.prefill(PROMPT, noProgress).done;
  const warm: SamplingParams = { ...GREEDY, temperature: 1.2 };
  const draw = (seed: number, params: SamplingParams) => {
    session.seed(seed);
    return Array.from({ length: 200 }, () => session.sample(params));
  };
  expect(draw(1, warm)).toEqual(draw(1, warm));
  expect(draw(1, warm)).not.toEqual(draw(2, warm));
  expect(Math.max(...draw(3, { ...warm, temperature: 50 }))).toBeLessThan(499);

  const allowed = new Int32Array(16);
  allowed[2] = 1 << 7;
  expect(session.sample({ ...GREEDY, allowed })).toBe(71);
  const padding = new Int32Array(16);
  padding[15] = -1 << 19;
  expect(() => session.sample({ ...GREEDY, allowed: padding })).toThrow(/no token is allowed/);
  const bias = { ids: Int32Array.of(123), values: Float32Array.of(1000) };
  expect(session.sample({ ...GREEDY, bias })).toBe(123);
});

test('wrong arguments are errors with a code, not crashes', async () => {
  const session = engine.createSession(8);
  const bad = [
    () => session.sample(GREEDY),
    () => session.logits(),
    () => session.prefill([1, 2] as unknown as Int32Array, noProgress),
    () => session.decode('x' as unknown as number),
    () => session.sample({ ...GREEDY, temperature: NaN }),
    () => session.rewind(7),
    () => session.save(Int32Array.of(1, 2, 3), 'test', [{ path: '/nowhere/x', from: 0, to: 3 }]),
    () => session.restore(Int32Array.of(1), 'test', [{ path: '', from: 0, to: 1 }]),
    () => session.restore(Int32Array.of(1), 'test', [{ path: '/x', from: -1, to: 1 }]),
    () => session.restore(Int32Array.of(1), 'test', [null] as unknown as StatePart[]),
    () => session.restore(Int32Array.of(1), 'test', '/x' as unknown as StatePart[]),
    () => engine.createSession(1.5),
    () => engine.createSession(-1),
  ];
  for (const call of bad) {
    expect(call).toThrow();
    try {
      call();
    } catch (thrown) {
      expect((thrown as { code?: string }).code).toBe('ERR_ENGINE');
    }
  }
  for (const token of [-1, 512, 1e9]) {
    const error = await failure(() => runJob(session.decode(token)));
    expect(error.code).toBe('ERR_ENGINE');
  }
  const options_ = { ...options, backend: 'metal' } as unknown as EngineOptions;
  expect((await failure(() => runJob(addon.openEngine(options_)))).code).toBe('ERR_ENGINE');
  expect((await failure(() => runJob(addon.openEngine({ ...options, modelDir: '' })))).code).toBe(
    'ERR_ENGINE',
  );
});
