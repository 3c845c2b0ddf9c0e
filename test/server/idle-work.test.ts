// What a server does with its model while nobody asks: after a silence, never before a request, once.

import { expect, it, vi } from 'vitest';
import { finish, Gate, MemoryEngine, said } from './memory-engine.js';
import { start } from './running.js';

const HELLO = { messages: [{ role: 'user', content: 'hello' }], max_tokens: 4 };
const SILENCE_MS = 60;

/** An engine whose answers wait until the gate is opened. */
function heldEngine() {
  const gate = new Gate();
  const engine = new MemoryEngine(async function* () {
    await gate.opened;
    yield said('done');
    yield finish();
  });
  return { engine, gate };
}

it('begins after a silence, gives way to a request at once, begins anew, and is done once', async () => {
  const { engine, gate } = heldEngine();
  const began: number[] = [];
  const ended: string[] = [];
  let isLong = true;
  const task = (given: unknown, id: string, signal: AbortSignal): Promise<void> => {
    began.push(Date.now());
    expect(given).toBe(engine);
    expect(id).toBe('org/test-model');
    if (!isLong) {
      ended.push('done');
      return Promise.resolve();
    }
    return new Promise((_, reject) => {
      signal.addEventListener('abort', () => {
        ended.push('gave way');
        reject(signal.reason as Error);
      });
    });
  };
  const { post } = await start(engine, { idle: { task, silenceMs: SILENCE_MS } });
  await vi.waitFor(() => expect(began).toHaveLength(1));
  isLong = false;
  const answer = post(HELLO);
  await vi.waitFor(() => expect(ended).toEqual(['gave way']));
  // The answer takes longer than a silence: nothing begins beside it.
  await new Promise((resolve) => setTimeout(resolve, 3 * SILENCE_MS));
  expect(began).toHaveLength(1);
  const released = Date.now();
  gate.open();
  expect((await answer).status).toBe(200);
  await vi.waitFor(() => expect(ended).toEqual(['gave way', 'done']));
  expect(began[1]).toBeGreaterThanOrEqual(released);
  expect((await post(HELLO)).status).toBe(200);
  await new Promise((resolve) => setTimeout(resolve, 3 * SILENCE_MS));
  expect(ended).toEqual(['gave way', 'done']);
});

it('is over before the engine is closed', async () => {
  const { engine } = heldEngine();
  const states: boolean[] = [];
  let begun = false;
  const { close } = await start(engine, {
    idle: {
      silenceMs: 1,
      task: async (_engine, _id, signal) => {
        begun = true;
        await new Promise((resolve) => {
          signal.addEventListener('abort', resolve);
        });
        await new Promise((resolve) => setImmediate(resolve));
        states.push(engine.closed);
      },
    },
  });
  await vi.waitFor(() => expect(begun).toBe(true));
  await close(0);
  expect(states).toEqual([false]);
  expect(engine.closed).toBe(true);
});
