// Families and formats that only the CPU computes, against reference results of transformers in float32, with caches in f32.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { EngineOptions, NativeEngine, NativeSession } from '../../src/addon/types.js';
import { CPU_FAMILIES, testAddon } from '../repack/fixtures.js';
import { deviations, GREEDY, type Golden, packFixture, readGolden } from './golden.js';

/** In standard deviations of the reference. */
const TOLERANCE = 1e-3;
/** The reference sums in another order: a smaller distance of two logits may go either way. */
const SAFE_MARGIN = 0.01;

const addon = testAddon();
const noProgress = () => undefined;

describe.each(CPU_FAMILIES)('%s', (family) => {
  let folder: string;
  let options: EngineOptions;
  let engine: NativeEngine;
  let golden: Golden;

  const tensor = (name: string): Float32Array => {
    const found = golden.tensors.get(name);
    if (!found) throw new Error(`golden.safetensors has no ${name}`);
    return found;
  };
  const inPieces = async (session: NativeSession, size: number): Promise<Float32Array> => {
    session.reset();
    for (let at = 0; at < golden.prompt.length; at += size) {
      const piece = golden.prompt.slice(at, at + size);
      const [token] = piece;
      if (size === 1 && token !== undefined) await session.decode(token).done;
      else await session.prefill(piece, noProgress).done;
    }
    return session.logits();
  };

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'flashmoe-golden-'));
    options = { ...(await packFixture(addon, family, folder)), cache: 'f32' };
    engine = await addon.openEngine(options).done;
    golden = await readGolden(family);
  });
  afterAll(async () => {
    engine.close();
    await rm(folder, { recursive: true, force: true });
  });

  test('logits and hidden states are those of the reference to a thousandth of a deviation', async () => {
    const session = engine.createSession(64);
    const { logits, hidden } = await session.evaluate(golden.prompt, true).done;
    session.close();
    const names = ['logits', ...hidden.map((_, i) => `hidden.${i}`)];
    const off = [logits, ...hidden].map((got, i) => deviations(got, tensor(names[i] ?? '')));
    console.log(`${family}: ${off.map((value) => value.toExponential(1)).join(' ')}`);
    expect(hidden).toHaveLength(engine.info().layers + 1);
    off.forEach((value, i) => expect(value, names[i]).toBeLessThan(TOLERANCE));
  });

  test('greedy tokens, and fewer experts per token, give what the reference gives', async () => {
    const session = engine.createSession(128);
    await session.prefill(golden.prompt, noProgress).done;
    for (const [i, token] of golden.greedy.entries()) {
      if ((golden.margin[i] ?? 0) > SAFE_MARGIN) expect(session.sample(GREEDY), `${i}`).toBe(token);
      await session.decode(token).done;
    }
    expect(deviations(session.logits(), tensor('logits_after_greedy'))).toBeLessThan(TOLERANCE);

    const fewer = [...golden.tensors.keys()].filter((name) => /^logits_k\d+$/.test(name));
    expect(fewer).not.toEqual([]);
    for (const name of fewer) {
      const expertsPerToken = Number(name.slice('logits_k'.length));
      const small = await addon.openEngine({ ...options, expertsPerToken }).done;
      const other = small.createSession(64);
      const { logits } = await other.evaluate(golden.prompt, false).done;
      expect(deviations(logits, tensor(name)), name).toBeLessThan(TOLERANCE);
      other.close();
      small.close();
    }
    session.close();
  });

  test.each(['f32', '16bit'] as const)(
    'a prompt in one batch, in pieces and token by token gives the same bits (%s)',
    async (cache) => {
      const other = await addon.openEngine({ ...options, cache }).done;
      const session = other.createSession(64);
      const whole = await inPieces(session, golden.prompt.length);
      for (const size of [1, 7, 39]) {
        expect(deviations(await inPieces(session, size), whole), `pieces of ${size}`).toBe(0);
      }
      session.close();
      other.close();
    },
  );

  test('a fork and a restored state go on exactly as their origin', async () => {
    const session = engine.createSession(128);
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
    for (const token of next) await fork.decode(token).done;
    expect(fork.logits()).toEqual(session.logits());

    await saved.done;
    const restored = engine.createSession(128);
    await restored.restore(golden.prompt, 'test', parts).done;
    for (const token of next) await restored.decode(token).done;
    expect(restored.logits()).toEqual(session.logits());
    for (const open of [session, fork, restored]) open.close();
  });
});
