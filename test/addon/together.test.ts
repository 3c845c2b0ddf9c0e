// Sessions that decode at the same time share steps of the engine: each gets, bit for bit, what it gets alone.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { NativeEngine, NativeSession } from '../../src/addon/types.js';
import { CPU_FAMILIES, FAMILIES, testAddon } from '../repack/fixtures.js';
import { packFixture, readGolden } from './golden.js';

const addon = testAddon();
const SESSIONS = 3;
const TOKENS = 12;

describe.each([...FAMILIES, ...CPU_FAMILIES])('%s', (family) => {
  let folder: string;
  let engine: NativeEngine;
  let prompt: Int32Array;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'flashmoe-together-'));
    engine = await addon.openEngine(await packFixture(addon, family, folder)).done;
    ({ prompt } = await readGolden(family));
  });
  afterEach(async () => {
    engine.close();
    await rm(folder, { recursive: true, force: true });
  });

  const begun = (): Promise<NativeSession[]> =>
    Promise.all(
      Array.from({ length: SESSIONS }, async (_, i) => {
        const session = engine.createSession(256);
        await session.prefill(prompt.slice(0, 9 + 8 * i), () => undefined).done;
        return session;
      }),
    );
  const token = (i: number, at: number): number => prompt[(5 * i + at) % prompt.length] ?? 0;

  test('tokens of three sessions are computed together, and are what they are alone', async () => {
    const uses = { alone: 0, together: 0 };
    const alone: Float32Array[] = [];
    for (const [i, session] of (await begun()).entries()) {
      for (let at = 0; at < TOKENS; at++) {
        uses.alone += (await session.decode(token(i, at)).done).expertUses;
      }
      alone.push(session.logits());
      session.close();
    }
    const sessions = await begun();
    for (let at = 0; at < TOKENS; at++) {
      const steps = sessions.map((session, i) => session.decode(token(i, at)).done);
      for (const { expertUses } of await Promise.all(steps)) uses.together += expertUses;
    }
    for (const [i, session] of sessions.entries()) expect(session.logits()).toEqual(alone[i]);
    // Each expert counts once for all tokens of a step that chose it.
    expect(uses.together).toBeLessThan(uses.alone);
    for (const session of sessions) session.close();
  });
});
