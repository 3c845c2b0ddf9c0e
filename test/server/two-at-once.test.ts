// Two answers at once: a short question needn't wait for the end of a long one, and neither changes the other.

import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { loadTokenizer } from '../../src/engine/tokenizer.js';
import { packed, type Packed } from '../engine/packed.js';
import { readEvents, start, type Started } from './running.js';

vi.setConfig({ testTimeout: 120_000 });

const LONG = {
  messages: [{ role: 'user', content: 'Count.' }],
  enable_thinking: false,
  max_tokens: 1500,
  seed: 11,
  temperature: 2,
  stream: true,
};
const SHORT = {
  messages: [{ role: 'user', content: 'What is 12 + 30?' }],
  enable_thinking: false,
  temperature: 0,
  max_tokens: 12,
  stream: true,
};

let model: Packed;
beforeAll(async () => {
  model = await packed('tiny');
});
afterAll(() => rm(model.dir, { recursive: true }));

async function running(): Promise<Started> {
  const states = {
    root: join(model.dir, 'states'),
    maxBytes: 1e9,
    version: '1.2.3',
    now: Date.now,
    notice: (error: Error) => {
      throw error;
    },
  };
  const server = await start(() => model.open({ sessions: 2, states }));
  await server.modelSettled;
  return server;
}

async function textOf(response: Response): Promise<string> {
  const { data } = await readEvents(response);
  const chunks = data.filter((one) => one !== '[DONE]') as {
    choices: { delta: { content?: string | null } }[];
  }[];
  return chunks.map(({ choices }) => choices[0]?.delta.content ?? '').join('');
}

interface First {
  /** Milliseconds until the first text. */
  first: number;
  text: string;
}

async function firstOf(response: Promise<Response>): Promise<First> {
  const started = performance.now();
  const stream = (await response).body as ReadableStream<Uint8Array>;
  const [one, other] = stream.tee();
  const reader = one.getReader();
  const decoder = new TextDecoder();
  let seen = '';
  while (!/"content":"./.test(seen)) seen += decoder.decode((await reader.read()).value);
  const first = performance.now() - started;
  void reader.cancel();
  return { first, text: await textOf(new Response(other)) };
}

describe('a server with two sessions', () => {
  it('begins a short answer beside a long one, and says in both what it says alone', async () => {
    const { post, get } = await running();
    const bias = { logit_bias: await withoutEnd() };
    const long = await textOf(await post({ ...LONG, ...bias }));
    const alone: First[] = [];
    const beside: First[] = [];
    // By turns, so that what else the machine does falls on both.
    for (let round = 0; round < 2; round++) {
      for (let i = 0; i < 9; i++) alone.push(await firstOf(post(SHORT)));
      const response = await post({ ...LONG, ...bias });
      for (let i = 0; i < 9; i++) beside.push(await firstOf(post(SHORT)));
      const { queue } = (await (await get('/health')).json()) as { queue: number };
      expect(queue).toBeGreaterThanOrEqual(1);
      expect(await textOf(response)).toBe(long);
    }
    for (const { text } of beside) expect(text).toBe(alone[0]?.text);
    const median = (times: First[]): number =>
      times.map(({ first }) => first).sort((a, b) => a - b)[times.length >> 1] ?? 0;
    console.log(
      `first token alone ${median(alone).toFixed(0)} ms, beside a long answer ${median(beside).toFixed(0)} ms`,
    );
    expect(median(beside)).toBeLessThan(3 * median(alone));
  });

  it('has a third wait for one of them', async () => {
    const { post, get } = await running();
    const bias = { logit_bias: await withoutEnd() };
    const two = [post({ ...LONG, ...bias }), post({ ...LONG, ...bias, seed: 12 })];
    await Promise.all(two);
    const status = (await (await get('/status')).json()) as { queue: { waiting: number } };
    expect(status.queue.waiting).toBe(0);
    const left = new AbortController();
    const third = post(SHORT, { signal: left.signal });
    await expect
      .poll(async () => ((await (await get('/status')).json()) as typeof status).queue.waiting)
      .toBe(1);
    left.abort();
    await expect(third.then((response) => response.text())).rejects.toThrow();
    for (const response of two) await (await response).body?.cancel();
  });
});

/** The model may not end its turn, so that the answer is as long as it may be. */
async function withoutEnd(): Promise<Record<string, number>> {
  const tokenizer = await loadTokenizer(join(import.meta.dirname, '..', '..', 'models', 'tiny'));
  return Object.fromEntries(tokenizer.controlTokens.map(({ id }) => [id, -100]));
}
