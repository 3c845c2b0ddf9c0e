// The engine against reference results of transformers in float32 (test/fixtures): each family packed by the real
// packer, computed through the addon.

import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { EngineOptions, NativeEngine, NativeSession } from '../../src/addon/types.js';
import { FAMILIES, testAddon } from '../repack/fixtures.js';
import {
  deviations,
  GREEDY,
  type Golden,
  packFixture,
  readGolden,
  relativeDifference,
} from './golden.js';

/** In standard deviations of the reference, with f32 caches. */
const EXACT_TOLERANCE = 1e-3;
/** Of the logits' spread, with caches of 16 bits. */
const TOLERANCE = 5e-4;
/** The reference sums in another order: a smaller distance of two logits may go either way. */
const SAFE_MARGIN = 0.01;

const addon = testAddon();
const noProgress = () => undefined;

describe.each(FAMILIES)('%s', (family) => {
  let folder: string;
  let options: EngineOptions;
  let engine: NativeEngine;
  let golden: Golden;
  let session: NativeSession;

  const tensor = (name: string): Float32Array => {
    const found = golden.tensors.get(name);
    if (!found) throw new Error(`golden.safetensors has no ${name}`);
    return found;
  };

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'flashmoe-golden-'));
    options = await packFixture(addon, family, folder);
    engine = await addon.openEngine(options).done;
    golden = await readGolden(family);
    session = engine.createSession(256);
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  test('logits at every position and every hidden state are those of the reference', async () => {
    session.reset();
    const { logits, hidden } = await session.evaluate(golden.prompt, true).done;
    const differences = [
      ['logits', relativeDifference(logits, tensor('logits'))] as const,
      ...hidden.map(
        (state, i) => [`hidden.${i}`, relativeDifference(state, tensor(`hidden.${i}`))] as const,
      ),
    ];
    console.log(
      `${family}: ` +
        differences.map(([name, value]) => `${name} ${value.toExponential(1)}`).join(' '),
    );
    expect(hidden).toHaveLength(engine.info().layers + 1);
    for (const [name, value] of differences) expect(value, name).toBeLessThan(TOLERANCE);
  });

  test('with f32 caches nothing is a thousandth of a standard deviation off', async () => {
    const exact = await addon.openEngine({ ...options, cache: 'f32' }).done;
    const whole = exact.createSession(64);
    const { logits, hidden } = await whole.evaluate(golden.prompt, true).done;
    const names = ['logits', ...hidden.map((_, i) => `hidden.${i}`)];
    const off = [logits, ...hidden].map((got, i) => deviations(got, tensor(names[i] ?? '')));
    console.log(`${family}: f32 ${off.map((value) => value.toExponential(1)).join(' ')}`);
    off.forEach((value, i) => expect(value, names[i]).toBeLessThan(EXACT_TOLERANCE));

    const last = logits.slice(-engine.info().vocabSize);
    whole.reset();
    await whole.prefill(golden.prompt.slice(0, 7), noProgress).done;
    for (const token of golden.prompt.slice(7)) await whole.decode(token).done;
    expect(deviations(whole.logits(), last)).toBe(0);
    exact.close();
  });

  test('greedy tokens are those of the reference wherever its margin is safe', async () => {
    session.reset();
    await session.prefill(golden.prompt, noProgress).done;
    for (const [i, token] of golden.greedy.entries()) {
      if ((golden.margin[i] ?? 0) > SAFE_MARGIN) expect(session.sample(GREEDY), `${i}`).toBe(token);
      await session.decode(token).done;
    }
    const difference = relativeDifference(session.logits(), tensor('logits_after_greedy'));
    console.log(`${family}: logits_after_greedy ${difference.toExponential(1)}`);
    expect(difference).toBeLessThan(TOLERANCE);
  });

  test('fewer experts per token give the reference of that number', async () => {
    const names = [...golden.tensors.keys()].filter((name) => /^logits_k\d+$/.test(name));
    expect(names).not.toEqual([]);
    for (const name of names) {
      const expertsPerToken = Number(name.slice('logits_k'.length));
      const fewer = await addon.openEngine({ ...options, expertsPerToken }).done;
      expect(fewer.info().expertsPerToken).toBe(expertsPerToken);
      const { logits } = await fewer.createSession(64).evaluate(golden.prompt, false).done;
      const difference = relativeDifference(logits, tensor(name));
      console.log(`${family}: ${name} ${difference.toExponential(1)}`);
      expect(difference).toBeLessThan(TOLERANCE);
      fewer.close();
    }
  });

  test('a prompt in one batch, in pieces and token by token gives the same bits', async () => {
    session.reset();
    const { logits } = await session.evaluate(golden.prompt, false).done;
    const vocab = engine.info().vocabSize;
    const last = logits.slice(-vocab);
    for (const size of [golden.prompt.length, 1, 7, 39]) {
      session.reset();
      for (let at = 0; at < golden.prompt.length; at += size) {
        const piece = golden.prompt.slice(at, at + size);
        const [token] = piece;
        if (size === 1 && token !== undefined) await session.decode(token).done;
        else await session.prefill(piece, noProgress).done;
      }
      expect(session.length()).toBe(golden.prompt.length);
      expect(relativeDifference(session.logits(), last), `pieces of ${size}`).toBe(0);
    }
  });

  test('a fork and a restored state go on exactly as their origin', async () => {
    session.reset();
    await session.prefill(golden.prompt, noProgress).done;
    const fork = session.fork();
    session.mark();
    const { length } = golden.prompt;
    const parts = [
      { path: join(folder, 'caches.state'), from: 0, to: length },
      { path: join(folder, 'fixed.state'), from: length, to: length },
    ];
    const saved = session.save(golden.prompt, 'test', parts);
    const next = golden.greedy.slice(0, 6);
    for (const token of next) await session.decode(token).done;
    const expected = session.logits();

    for (const token of next) await fork.decode(token).done;
    expect(fork.logits()).toEqual(expected);

    const sizes = await Promise.all(parts.map(async ({ path }) => (await stat(path)).size));
    expect(await saved.done).toBe(sizes.reduce((sum, size) => sum + size, 0));
    const restored = engine.createSession(128);
    await restored.restore(golden.prompt, 'test', parts).done;
    expect(restored.length()).toBe(golden.prompt.length);
    for (const token of next) await restored.decode(token).done;
    expect(restored.logits()).toEqual(expected);
  });
});
