// Whatever a conversation goes through, its state is that of its tokens: random interleavings of everything a session
// can do, each step compared with a fresh reading of the same tokens, to the bit.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { NativeEngine, NativeSession, StatePart } from '../../src/addon/types.js';
import { FAMILIES, testAddon } from '../repack/fixtures.js';
import { packFixture } from './golden.js';

vi.setConfig({ testTimeout: 120_000 });

const CONTEXT = 96;
const MOST_SESSIONS = 3;
const STEPS = 45;
const PROGRAM = 'properties';

/** Whole numbers below `limit`, the same for a seed. */
function draws(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9) >>> 0;
    return Math.floor((((state ^ (state >>> 13)) >>> 0) / 2 ** 32) * limit);
  };
}

interface Conversation {
  session: NativeSession;
  tokens: number[];
}

describe.each(FAMILIES)('%s', (family) => {
  let dir: string;
  let engine: NativeEngine;
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'flashmoe-properties-'));
    const addon = testAddon();
    const options = await packFixture(addon, family, join(dir, 'model'));
    engine = await addon.openEngine({ ...options, threads: 1 }).done;
  });
  afterAll(async () => {
    engine.close();
    await rm(dir, { recursive: true, force: true });
  });

  test.each([1, 2])('a state is that of its tokens after any steps (seed %i)', async (seed) => {
    const draw = draws(seed);
    const several = (most: number) => Array.from({ length: 1 + draw(most) }, () => draw(490));
    const fresh = engine.createSession(CONTEXT);
    const conversations: Conversation[] = [{ session: engine.createSession(CONTEXT), tokens: [] }];
    const files: { parts: StatePart[]; tokens: number[] }[] = [];
    const history: string[] = [];
    const happened = new Set<string>();

    const expected = async (tokens: readonly number[]): Promise<Float32Array> => {
      fresh.reset();
      await fresh.prefill(Int32Array.from(tokens), () => undefined).done;
      return fresh.logits();
    };
    const prefill = ({ session, tokens }: Conversation, more: number[]) => {
      const marks = Uint32Array.from(
        [tokens.length + draw(more.length), tokens.length + draw(more.length)].sort(
          (a, b) => a - b,
        ),
      );
      return session.prefill(Int32Array.from(more), () => undefined, marks);
    };
    /** null where a step isn't possible now; else whether logits must be there after it. */
    const steps: Record<string, (one: Conversation) => Promise<boolean | null>> = {
      prefill: async (one) => {
        const more = several(24);
        if (one.tokens.length + more.length >= CONTEXT - 1) return null;
        await prefill(one, more).done;
        one.tokens.push(...more);
        return true;
      },
      decode: async (one) => {
        if (one.tokens.length >= CONTEXT - 2) return null;
        const token = draw(490);
        await one.session.decode(token).done;
        one.tokens.push(token);
        return true;
      },
      fork: ({ session, tokens }) => {
        if (conversations.length === MOST_SESSIONS) conversations.shift()?.session.close();
        // The one that was asked may just have been closed: then there is nothing to copy.
        if (!conversations.some((each) => each.session === session)) return Promise.resolve(null);
        conversations.push({ session: session.fork(), tokens: [...tokens] });
        return Promise.resolve(false);
      },
      mark: ({ session, tokens }) => {
        if (tokens.length === 0) return Promise.resolve(null);
        session.mark();
        return Promise.resolve(false);
      },
      rewind: (one) => {
        const length = one.session.reachable(draw(one.tokens.length + 1));
        one.session.rewind(length);
        one.tokens.length = length;
        return Promise.resolve(false);
      },
      save: async ({ session, tokens }) => {
        const length = session.reachable(1 + draw(tokens.length));
        if (tokens.length === 0 || length === 0) return null;
        const path = join(dir, `${seed}-${files.length}.state`);
        const parts = [
          { path, from: 0, to: length },
          { path: `${path}.fixed`, from: length, to: length },
        ];
        if (length === tokens.length) session.mark();
        const kept = tokens.slice(0, length);
        await session.save(Int32Array.from(kept), PROGRAM, parts).done;
        files.push({ parts, tokens: kept });
        return false;
      },
      restore: async (one) => {
        const file = files[draw(files.length)];
        if (file === undefined) return null;
        await one.session.restore(Int32Array.from(file.tokens), PROGRAM, file.parts).done;
        one.tokens = [...file.tokens];
        return false;
      },
      refuse: async (one) => {
        const file = files[draw(files.length)];
        if (file === undefined) return null;
        const others = file.tokens.with(-1, 1 + (file.tokens.at(-1) ?? 0));
        const job = one.session.restore(Int32Array.from(others), PROGRAM, file.parts);
        await expect(job.done).rejects.toMatchObject({ code: 'ERR_ENGINE' });
        one.tokens.length = one.session.length();
        return false;
      },
      cancel: async (one) => {
        const more = several(24);
        if (one.tokens.length + more.length >= CONTEXT - 1) return null;
        const job = prefill(one, more);
        job.cancel();
        const wasOver = await job.done.then(
          () => true,
          (error: unknown) => {
            expect(error).toMatchObject({ code: 'ERR_INTERRUPTED' });
            return false;
          },
        );
        if (wasOver) one.tokens.push(...more);
        return wasOver;
      },
      reset: (one) => {
        if (draw(3) > 0) return Promise.resolve(null);
        one.session.reset();
        one.tokens.length = 0;
        return Promise.resolve(false);
      },
    };
    const names = Object.keys(steps);

    const check = async ({ session, tokens }: Conversation, mustHaveLogits: boolean) => {
      const said = history.join(' ');
      expect(session.length(), said).toBe(tokens.length);
      if (mustHaveLogits) expect(session.logits(), said).toEqual(await expected(tokens));
      const probe = session.fork();
      const token = draw(490);
      await probe.decode(token).done;
      expect(probe.logits(), said).toEqual(await expected([...tokens, token]));
      probe.close();
    };

    while (history.length < STEPS) {
      const name = names[draw(names.length)] ?? '';
      const one = conversations[draw(conversations.length)];
      if (one === undefined) throw new Error('no conversation');
      const result = await steps[name]?.(one);
      if (result === null || result === undefined) continue;
      history.push(`${name}:${one.tokens.length}`);
      happened.add(name);
      await check(one, result);
    }
    for (const one of conversations) {
      await check(one, false);
      one.session.close();
    }
    fresh.close();
    expect([...happened].sort(), 'every kind of step').toEqual(names.sort());
  });
});
