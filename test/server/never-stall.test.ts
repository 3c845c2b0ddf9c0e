// A server with a running answer, given what takes long to read: prompts, schemas and patterns that are made to be
// slow. Nobody else may notice.

import { rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { start as startProgram, type Program } from '../helpers/child.js';
import { packed, type Packed } from '../engine/packed.js';
import { Gate, MemoryEngine, finish, said, says } from './memory-engine.js';
import { errorOf, start } from './running.js';

vi.setConfig({ testTimeout: 120_000 });

const SLOW_PATTERN = '^.*a.{20}$';
/** A schema of some 77 KB. */
const LARGE_SCHEMA = {
  type: 'object',
  properties: Object.fromEntries(
    Array.from({ length: 640 }, (_, i) => [
      `property_number_${i}`,
      {
        type: 'object',
        properties: { name: { type: 'string', maxLength: 40 + i }, at: { type: 'integer' } },
      },
    ]),
  ),
};

let model: Packed;
/** In a process of its own: what the test does itself must not look like the server's. */
let server: Program;
let url = '';
beforeAll(async () => {
  model = await packed('tiny');
  const places = [join(model.dir, 'model'), join(model.dir, 'model', 'packed_experts')];
  server = startProgram(new URL('./programs/serve-packed.ts', import.meta.url), places);
  url = await server.line();
});
afterAll(async () => {
  server.process.stdin?.end();
  await server.ended;
  await rm(model.dir, { recursive: true });
});

const ask = (content: string, more: object = {}, signal?: AbortSignal): Promise<Response> =>
  fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    body: JSON.stringify({
      messages: [{ role: 'user', content }],
      max_tokens: 1,
      enable_thinking: false,
      ...more,
    }),
    ...(signal && { signal }),
  });

function formatOf(schema: object): object {
  return { response_format: { type: 'json_schema', json_schema: { name: 'x', schema } } };
}

/** Milliseconds that /health took, asked over and over until told to stop. */
function watchHealth(): { stop: () => Promise<number[]> } {
  let going = true;
  const times: number[] = [];
  const done = (async () => {
    while (going) {
      const started = performance.now();
      await (await fetch(`${url}/health`)).text();
      times.push(performance.now() - started);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  })();
  return {
    stop: async () => {
      going = false;
      await done;
      return times;
    },
  };
}

/** Milliseconds between pieces of a stream that goes on for as long as the context allows. */
async function streamGaps(until: Promise<unknown>): Promise<number[]> {
  const left = new AbortController();
  void until.then(() => left.abort());
  const gaps: number[] = [];
  while (!left.signal.aborted) {
    const response = await ask('Count.', {
      stream: true,
      max_tokens: 3000,
      seed: 1,
      temperature: 1.5,
      min_p: 0,
    });
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    await reader.read();
    for (let last = performance.now(); !left.signal.aborted; last = performance.now()) {
      if ((await reader.read()).done) break;
      gaps.push(performance.now() - last);
    }
    await reader.cancel();
  }
  return gaps;
}

function largest(values: number[]): number {
  return Math.round(Math.max(...values));
}

/** Of twenty, one takes longer: the largest says more about what else the machine does. */
function usual(values: number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length * 0.95)] ?? 0;
}

describe('a server that is given what takes long', () => {
  it('answers /health, and its running stream goes on as before', async () => {
    const calm = watchHealth();
    const before = await streamGaps(new Promise((resolve) => setTimeout(resolve, 3000)));
    const calmTimes = await calm.stop();

    const health = watchHealth();
    const hostile = Promise.all([
      ask('word '.repeat(210_000)),
      ask('<'.repeat(5_000_000)),
      ask('x', formatOf({ type: 'string', pattern: SLOW_PATTERN })),
      ask('x', formatOf(LARGE_SCHEMA)),
      ask('word '.repeat(320_000)),
    ]);
    const during = await streamGaps(hostile);
    const times = await health.stop();
    const [words, brackets, pattern, schema, more] = await hostile;
    const told = (values: number[]): string =>
      `${usual(values).toFixed(1)} (${largest(values)}) ms`;
    console.log(
      `of twenty the slowest (of all): /health ${told(times)}, before ${told(calmTimes)}; ` +
        `pause of the stream ${told(during)}, before ${told(before)}`,
    );
    for (const response of [words, brackets, more]) {
      expect(response.status).toBe(400);
      const error = await errorOf(response);
      expect(error, error.message).toMatchObject({ type: 'exceed_context_size_error' });
    }
    expect(pattern.status).toBe(400);
    // By the limit on its work, or by the one on its time.
    expect((await errorOf(pattern)).message).toMatch(/too complicated|5 s/);
    // Right away or not at all.
    if (schema.status !== 200) {
      expect((await errorOf(schema)).message).toMatch(/too complicated|too large|5 s/);
    }
    expect(usual(times)).toBeLessThan(Math.max(100, 4 * usual(calmTimes)));
    // A thread that is held by one of them is held for seconds.
    expect(largest([...times, ...during])).toBeLessThan(2500);
  });

  it('gives nothing up for a grammar whose client has left: pattern-holds-queue', async () => {
    const left = new AbortController();
    const held = ask('x', formatOf({ type: 'string', pattern: SLOW_PATTERN }), left.signal);
    await new Promise((resolve) => setTimeout(resolve, 100));
    left.abort();
    // Refused by then where the machine is fast.
    const refused = await held.catch(() => null);
    if (refused !== null) expect(refused.status).toBe(400);
    const started = performance.now();
    expect((await ask('x')).status).toBe(200);
    expect(performance.now() - started).toBeLessThan(3000);
  });

  it('stops making a prompt that nobody waits for', async () => {
    const left = new AbortController();
    const text = 'word '.repeat(3_000_000);
    const held = fetch(`${url}/tokenize`, {
      method: 'POST',
      body: JSON.stringify({ content: text }),
      signal: left.signal,
    });
    await new Promise((resolve) => setTimeout(resolve, 1000));
    left.abort();
    await expect(held).rejects.toThrow();
    const started = performance.now();
    expect((await ask('x')).status).toBe(200);
    expect(performance.now() - started).toBeLessThan(10_000);
  });
});

describe('a client that does not read', () => {
  it('is waited for no longer than it may be; then the next one is answered', async () => {
    const gone = new Gate();
    const engine = new MemoryEngine(async function* (request, signal) {
      if (request.maxTokens === 7) {
        yield* says(said('short'), finish())(request, signal);
        return;
      }
      try {
        for (;;) {
          yield said('x'.repeat(10_000));
          await new Promise((resolve) => setImmediate(resolve));
        }
      } finally {
        gone.open();
      }
    });
    const { port, post } = await start(engine, { stallMs: 300 });
    const body = JSON.stringify({ messages: [{ role: 'user', content: 'x' }], stream: true });
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => undefined).pause();
    socket.write(
      `POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    );
    await expect.poll(() => engine.requests.length).toBe(1);
    const next = await post({ messages: [{ role: 'user', content: 'y' }], max_tokens: 7 });
    expect(next.status).toBe(200);
    await gone.opened;
    socket.destroy();
  });
});
