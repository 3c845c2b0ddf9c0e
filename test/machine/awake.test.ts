import { expect, test } from 'vitest';
import type { GenerateEvent } from '../../src/engine/types.js';
import { awakeCommand, AwakeWhileBusy, keepAwake } from '../../src/machine/awake.js';
import { watchEngine } from '../../src/engine/watched-engine.js';
import { MemoryEngine } from '../server/memory-engine.js';

test('the machine stays awake by the system’s own tool, tied to the pid, and nowhere by one that is unknown', () => {
  expect(awakeCommand('darwin', 42, 'why')).toEqual(['caffeinate', '-i', '-s', '-w', '42']);
  expect(awakeCommand('linux', 42, 'why')?.join(' ')).toMatch(
    /^systemd-inhibit .*--why=why .* tail --pid=42 /,
  );
  expect(awakeCommand('win32', 42, 'why')).toBeNull();
});

test('where the tool is not installed nothing is held and nothing fails', async () => {
  // No Mac's tool is on this PATH, or it is a Mac's own.
  const awake = await keepAwake({ platform: 'win32', pid: process.pid }, 'why');
  expect(awake.held).toBe(false);
  awake.release();
});

/** Counts what is held. */
function counted(lingerMs: number) {
  const held = { now: 0, ever: 0 };
  const start = () => {
    held.now++;
    held.ever++;
    return Promise.resolve({ held: true, release: () => void held.now-- });
  };
  return { held, awake: new AwakeWhileBusy(start, lingerMs) };
}

test('what is under way at the same time, or soon after, is held by one child', async () => {
  const { held, awake } = counted(50);
  const first = awake.begin();
  const second = awake.begin();
  first();
  first();
  expect(held).toEqual({ now: 1, ever: 1 });
  second();
  awake.begin()();
  expect(held).toEqual({ now: 1, ever: 1 });
  await expect.poll(() => held.now).toBe(0);
  awake.begin()();
  expect(held).toEqual({ now: 1, ever: 2 });
  awake.close();
  await expect.poll(() => held.now).toBe(0);
});

test('an engine is watched from the beginning of an answer to its end, also when it is given up', async () => {
  const lived: number[] = [];
  let running = 0;
  const script = async function* (): AsyncGenerator<GenerateEvent> {
    await Promise.resolve();
    yield { type: 'text', channel: 'content', text: 'one' };
    yield { type: 'text', channel: 'content', text: 'two' };
  };
  const engine = watchEngine(new MemoryEngine(script), () => {
    lived.push(++running);
    return () => void running--;
  });
  const request = { messages: [{ role: 'user' as const, content: 'hello' }] };
  const answer = engine.chat(request as never, new AbortController().signal);
  expect(running).toBe(0);
  for await (const event of answer) {
    expect(running).toBe(1);
    if (event.type === 'text') break;
  }
  expect(running).toBe(0);
  expect(lived).toEqual([1]);
  // The rest of it is the engine's own.
  expect(await engine.tokenize('ab')).toEqual([97, 98]);
});
