// Ollama's API, asked by its own client, and what the client doesn't show.

import { rm } from 'node:fs/promises';
import { Ollama } from 'ollama';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { serve, type RunningServer } from '../../src/server/serve.js';
import { packed, type Packed } from '../engine/packed.js';
import { Gate, MemoryEngine, finish, said, says } from './memory-engine.js';
import { start } from './running.js';

const SCHEMA = {
  type: 'object',
  properties: { city: { type: 'string', enum: ['Paris', 'Rome'] } },
  required: ['city'],
  additionalProperties: false,
};

let model: Packed;
let server: RunningServer;
let ollama: Ollama;
beforeAll(async () => {
  model = await packed('tiny');
  server = await serve({
    port: 0,
    modelId: 'tiny',
    load: () => model.open({ id: 'tiny' }),
    installed: () => Promise.resolve([{ id: 'tiny', quant: '4bit', bytes: 2_400_000, since: 0 }]),
    version: '1.2.3',
    now: Date.now,
    emit: () => undefined,
  });
  await server.modelSettled;
  ollama = new Ollama({ host: server.url });
});
afterAll(async () => {
  await server.close(0);
  await rm(model.dir, { recursive: true });
});

const greedy = { options: { temperature: 0, num_predict: 40 }, think: false } as const;
const messages = [{ role: 'user', content: 'What is 12 + 30?' }];
const tools = [
  {
    type: 'function',
    function: { name: 'weather', description: 'The weather', parameters: SCHEMA },
  },
];

describe('the ollama client', () => {
  it('sees which models there are and which is loaded', async () => {
    expect((await ollama.list()).models).toMatchObject([
      { name: 'tiny:latest', model: 'tiny:latest', size: 2_400_000 },
    ]);
    const [running] = (await ollama.ps()).models;
    expect(running?.name).toBe('tiny:latest');
    expect((await ollama.version()).version).toBe('1.2.3');
    expect((await ollama.show({ model: 'tiny:latest' })).capabilities).toContain('tools');
    await expect(ollama.show({ model: 'other' })).rejects.toThrow('not found');
  });

  it('has the same answer whole and in a stream, with its figures', async () => {
    const whole = await ollama.chat({ model: 'tiny', messages, ...greedy });
    expect(whole.message.content).not.toBe('');
    expect(whole).toMatchObject({ done: true, done_reason: 'stop' });
    expect(whole.prompt_eval_count).toBeGreaterThan(0);
    let text = '';
    let pieces = 0;
    let last;
    for await (const part of await ollama.chat({
      model: 'tiny:latest',
      messages,
      stream: true,
      ...greedy,
    })) {
      text += part.message.content;
      pieces++;
      last = part;
    }
    expect(text).toBe(whole.message.content);
    expect(pieces).toBeGreaterThan(1);
    expect(last).toMatchObject({ done: true, eval_count: whole.eval_count });
  });

  it('generates from a prompt, raw or through the template', async () => {
    const { response } = await ollama.generate({
      model: 'tiny',
      prompt: 'What is 12 + 30?',
      ...greedy,
    });
    expect(response).toMatch(/\d/);
    const raw = await ollama.generate({
      model: 'tiny',
      prompt: 'The',
      raw: true,
      options: { num_predict: 3 },
    });
    expect(raw.eval_count).toBe(3);
  });

  it('has JSON of a schema, and a thought apart from the answer', async () => {
    const { message } = await ollama.chat({ model: 'tiny', messages, format: SCHEMA, ...greedy });
    expect(['Paris', 'Rome']).toContain((JSON.parse(message.content) as { city: string }).city);
    const thought = await ollama.chat({ model: 'tiny', messages, ...greedy, think: true });
    expect(thought.message.thinking).toEqual(expect.any(String));
  });

  it('calls a tool with an object, and goes on from its result', async () => {
    const question = { role: 'user', content: 'What is the weather in Paris?' };
    const asked = { model: 'tiny', tools, ...greedy };
    const { message } = await ollama.chat({ ...asked, messages: [question] });
    const [call] = message.tool_calls ?? [];
    expect(call?.function.name).toBe('weather');
    expect(call?.function.arguments).toEqual(expect.any(Object));
    const result = { role: 'tool', content: 'sunny', tool_name: 'weather' };
    const next = await ollama.chat({ ...asked, messages: [question, message, result] });
    expect(next.message.content).not.toBe('');
    let calls = 0;
    for await (const part of await ollama.chat({ ...asked, messages: [question], stream: true }))
      calls += part.message.tool_calls?.length ?? 0;
    expect(calls).toBe(1);
  });

  it('loads and lets go with a request that says nothing', async () => {
    expect(await ollama.generate({ model: 'tiny', prompt: '', keep_alive: 0 })).toMatchObject({
      done_reason: 'unload',
    });
    expect((await ollama.ps()).models).toEqual([]);
    expect(await ollama.generate({ model: 'tiny', prompt: '', keep_alive: '10m' })).toMatchObject({
      done_reason: 'load',
    });
    expect((await ollama.ps()).models).toHaveLength(1);
  });

  it('is told what is not done here', async () => {
    for (const refused of [
      () => ollama.pull({ model: 'x' }),
      () => ollama.push({ model: 'x' }),
      () => ollama.create({ model: 'x', from: 'y' }),
      () => ollama.copy({ source: 'a', destination: 'b' }),
      () => ollama.delete({ model: 'tiny' }),
      () => ollama.embed({ model: 'tiny', input: 'x' }),
    ]) {
      await expect(refused()).rejects.toMatchObject({ status_code: 501 });
    }
  });

  it('has the reason of a refusal as the client shows it', async () => {
    await expect(
      ollama.chat({ model: 'tiny', messages, options: { mirostat: 2 } }),
    ).rejects.toThrow('mirostat');
    const long = { role: 'user', content: 'word '.repeat(20_000) };
    await expect(ollama.chat({ model: 'tiny', messages: [long] })).rejects.toThrow('context');
  });
});

describe('the routes of Ollama', () => {
  const ROUTES = [
    ['GET', '/api/tags'],
    ['GET', '/api/ps'],
    ['GET', '/api/version'],
    ['POST', '/api/show'],
    ['POST', '/api/chat'],
    ['POST', '/api/generate'],
    ['POST', '/api/pull'],
    ['DELETE', '/api/delete'],
  ] as const;

  it.each(ROUTES)('want key, host and origin as all others do: %s %s', async (method, path) => {
    const engine = new MemoryEngine(says(finish()));
    const body = method === 'GET' ? {} : { body: '{"model":"x"}' };
    const { get } = await start(engine, { apiKey: 'secret' });
    expect((await get(path, { method, ...body })).status).toBe(401);
    const open = await start(engine);
    const foreign = { origin: 'https://example.org' };
    expect((await open.get(path, { method, ...body, headers: foreign })).status).toBe(403);
  });

  it('say in a silent stream that they are still there, with lines that say nothing', async () => {
    const gate = new Gate();
    const engine = new MemoryEngine(async function* () {
      await gate.opened;
      yield said('late');
      yield finish();
    });
    const { url, get } = await start(engine, { keepAliveMs: 50 });
    const asked = { model: 'x', messages: [{ role: 'user', content: 'x' }] };
    const response = await get('/api/chat', { method: 'POST', body: JSON.stringify(asked) });
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    const early = new TextDecoder().decode((await reader.read()).value);
    expect(JSON.parse(early)).toMatchObject({ message: { content: '' }, done: false });
    gate.open();
    await reader.cancel();
    // Its own client takes them for pieces without text.
    let text = '';
    for await (const part of await new Ollama({ host: url }).chat({ ...asked, stream: true })) {
      text += part.message.content;
    }
    expect(text).toBe('late');
  });

  it('tag models as case ollama-tags asks: names end in :latest', async () => {
    const tags = (await (await fetch(`${server.url}/api/tags`)).json()) as { models: object[] };
    expect(tags.models).toMatchObject([{ name: 'tiny:latest' }]);
  });

  it('answer HEAD / and say what a wrong body is', async () => {
    const { get } = await start(new MemoryEngine(says(finish())));
    expect((await get('/', { method: 'HEAD' })).status).toBe(200);
    const wrong = await get('/api/chat', { method: 'POST', body: '{"messages":[]}' });
    expect(wrong.status).toBe(400);
    expect(await wrong.json()).toEqual({ error: expect.stringContaining('model') as string });
  });
});
