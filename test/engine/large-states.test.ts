// A recurrent state of 195 MB, the largest that is known (the bundled model's has 0.43 MB and hides what such a size costs): the
// bundled model, its engine and its store on disk, told that a copy of its state takes that much.

import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import type { NativeAddon, NativeEngine } from '../../src/addon/types.js';
import type { ChatMessage, Engine } from '../../src/engine/types.js';
import { catalogEntry } from '../../src/models/catalog.js';
import { testAddon } from '../repack/fixtures.js';
import { packed, type Packed } from './packed.js';

vi.setConfig({ testTimeout: 300_000, hookTimeout: 120_000 });

const BYTES = catalogEntry('qwen3.5-397b').stateBytes;
/** Five copies and the rest. */
const BUDGET = 5.5 * BYTES;

let model: Packed;
beforeAll(async () => {
  model = await packed('tiny');
});
afterAll(() => rm(model.dir, { recursive: true }));

/** The addon, whose engines say that their states are so large. */
function largeStates(): NativeAddon {
  const large = (native: NativeEngine): NativeEngine =>
    new Proxy(native, {
      get: (of, name) =>
        name === 'info'
          ? () => ({ ...of.info(), stateBytes: BYTES })
          : (Reflect.get(of, name) as unknown),
    });
  return new Proxy(testAddon(), {
    get: (of, name) =>
      name !== 'openEngine'
        ? (Reflect.get(of, name) as unknown)
        : (...asked: Parameters<NativeAddon['openEngine']>) => {
            const job = of.openEngine(...asked);
            return { ...job, done: job.done.then(large) };
          },
  });
}

const root = (): string => join(model.dir, 'states');
const open = (): Promise<Engine> =>
  model.open({
    addon: largeStates(),
    states: {
      root: root(),
      maxBytes: BUDGET,
      version: '1.2.3',
      now: Date.now,
      notice: (error) => {
        throw error;
      },
    },
  });

async function ask(
  engine: Engine,
  messages: ChatMessage[],
): Promise<{ all: number; cached: number }> {
  const sampling = { temperature: 0 };
  const request = { messages, tools: [], thinking: false, maxTokens: 8, stop: [], sampling };
  for await (const event of engine.chat(request, new AbortController().signal)) {
    if (event.type === 'finish') {
      return { all: event.usage.promptTokens, cached: event.usage.cachedTokens };
    }
  }
  throw new Error('the answer has no end');
}

/** Copies of what is fixed in size, on disk. */
async function copies(): Promise<number> {
  const names = (await readdir(root(), { recursive: true })).filter((name) => name.includes('-'));
  return names.filter((name) => {
    const [from, to] = name.split('-').slice(1, 3);
    return from === to;
  }).length;
}

it('is kept at the ends of messages, within the budget, and found again after a restart', async () => {
  const user = (content: string): ChatMessage => ({ role: 'user', content });
  const lines = (what: string, count: number): string =>
    Array.from({ length: count }, (_, i) => `${what} ${i} is ${(i * 37) % 101}.`).join('\n');
  const system: ChatMessage = { role: 'system', content: lines('Rule', 60) };
  const first = [system, user(`${lines('Item', 80)}\nWhat is item 3?`)];

  // Many messages, more than there is room for copies behind them.
  const many = Array.from({ length: 9 }, (_, i): ChatMessage[] => [
    user(lines(`Case ${i}`, 4)),
    { role: 'assistant', content: `${i}` },
  ]).flat();
  let engine = await open();
  await ask(engine, [{ role: 'system', content: lines('Law', 40) }, ...many, user('So?')]);
  await engine.close();
  // Four in memory, and the end of the answer; the budget on disk has room for five.
  expect(await copies()).toBeGreaterThan(1);
  expect(await copies()).toBeLessThanOrEqual(5);

  engine = await open();
  const begun = await ask(engine, first);
  expect(begun.cached).toBe(0);
  const next = [...first, { role: 'assistant' as const, content: '10' }, user('And item 4?')];
  const second = await ask(engine, next);
  // All up to where the next question left the first prompt.
  expect(begun.all - second.cached).toBeLessThan(16);
  await engine.close();

  engine = await open();
  const other = await ask(engine, [system, user('What is rule 7?')]);
  // Behind the first message, whatever stood after it.
  expect(other.cached).toBeGreaterThan(500);
  expect(other.all - other.cached).toBeLessThan(40);
  await engine.close();
});
