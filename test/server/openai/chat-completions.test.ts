import { describe, expect, it } from 'vitest';
import { FlashmoeError } from '../../../src/base/errors.js';
import type { GenerateEvent } from '../../../src/engine/types.js';
import { aborted, finish, Gate, MemoryEngine, said, says } from '../memory-engine.js';
import { errorOf, readEvents, start } from '../running.js';

const HELLO = { model: 'whatever', messages: [{ role: 'user', content: 'hello' }] };

interface Chunk {
  id: string;
  created: number;
  model: string;
  object: string;
  choices: { index: number; delta: Record<string, unknown>; finish_reason: string | null }[];
  usage?: unknown;
  error?: { code: string };
}

const call = (index: number, id: string): GenerateEvent[] => [
  { type: 'tool-call', index, id, name: 'weather' },
  { type: 'tool-arguments', index, json: '{"city":"Paris"' },
  { type: 'tool-arguments', index, json: ',"days":3}' },
];

describe('an answer in one piece', () => {
  it('has content, reasoning, usage and timings', async () => {
    const engine = new MemoryEngine(
      says(
        said('hm', 'reasoning'),
        said('Hel'),
        { type: 'prefill', done: 1, total: 2 },
        said('lo'),
        finish(),
      ),
    );
    const { post } = await start(engine);
    const response = await post(HELLO);
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({
      id: expect.stringMatching(/^chatcmpl-[0-9a-f]{32}$/) as string,
      object: 'chat.completion',
      created: expect.any(Number) as number,
      model: 'org/test-model',
      system_fingerprint: 'flashmoe-1.2.3',
      choices: [
        {
          index: 0,
          message: { role: 'assistant', content: 'Hello', reasoning_content: 'hm', refusal: null },
          logprobs: null,
          finish_reason: 'stop',
        },
      ],
      usage: {
        prompt_tokens: 9,
        completion_tokens: 5,
        total_tokens: 14,
        prompt_tokens_details: { cached_tokens: 2 },
        completion_tokens_details: { reasoning_tokens: 1 },
      },
      timings: {
        cache_n: 2,
        prompt_n: 7,
        prompt_ms: 500,
        predicted_n: 5,
        predicted_per_second: 2,
      },
    });
  });

  it('has tool calls with their arguments as JSON text', async () => {
    const { post } = await start(
      new MemoryEngine(says(...call(0, 'call_a'), ...call(1, 'call_b'), finish('tool_calls'))),
    );
    const body = (await (await post(HELLO)).json()) as { choices: unknown[] };
    const wire = { name: 'weather', arguments: '{"city":"Paris","days":3}' };
    expect(body.choices[0]).toMatchObject({
      finish_reason: 'tool_calls',
      message: {
        content: null,
        tool_calls: [
          { id: 'call_a', type: 'function', function: wire },
          { id: 'call_b', type: 'function', function: wire },
        ],
      },
    });
  });

  it('is an empty string when the model says nothing', async () => {
    const { post } = await start(new MemoryEngine(says(finish('length'))));
    const body = (await (await post(HELLO)).json()) as { choices: { message: unknown }[] };
    expect(body.choices[0]?.message).toMatchObject({ content: '' });
  });
});

describe('a streamed answer', () => {
  const stream = { ...HELLO, stream: true };

  it('begins with the role, ends with a reason, usage and [DONE]', async () => {
    const { post } = await start(
      new MemoryEngine(says(said('hm', 'reasoning'), said('Hello'), finish())),
    );
    const response = await post({ ...stream, stream_options: { include_usage: true } });
    expect(response.headers.get('content-type')).toMatch('text/event-stream');
    expect(response.headers.get('content-encoding')).toBeNull();
    const { data } = await readEvents(response);
    expect(data.pop()).toBe('[DONE]');
    const chunks = data as Chunk[];
    expect(new Set(chunks.map(({ id, created, model }) => `${id} ${created} ${model}`)).size).toBe(
      1,
    );
    expect(chunks.every((chunk) => chunk.object === 'chat.completion.chunk')).toBe(true);
    expect(chunks.map((chunk) => chunk.choices[0]?.delta)).toEqual([
      { role: 'assistant', content: null },
      { reasoning_content: 'hm' },
      { content: 'Hello' },
      {},
      undefined,
    ]);
    expect(chunks.map((chunk) => chunk.choices[0]?.finish_reason)).toEqual([
      null,
      null,
      null,
      'stop',
      undefined,
    ]);
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { prompt_tokens: 9 } });
    expect(chunks.slice(0, -1).every(({ usage }) => usage === null)).toBe(true);
  });

  it('gives a tool call’s identity once and its arguments after it, one call at a time', async () => {
    const { post } = await start(
      new MemoryEngine(says(...call(0, 'call_a'), ...call(1, 'call_b'), finish('tool_calls'))),
    );
    const { data } = await readEvents(await post(stream));
    const deltas = (data as Chunk[]).flatMap((chunk) => chunk.choices?.[0]?.delta.tool_calls ?? []);
    const head = { name: 'weather', arguments: '' };
    const rest = (index: number) => [
      { index, function: { arguments: '{"city":"Paris"' } },
      { index, function: { arguments: ',"days":3}' } },
    ];
    expect(deltas).toEqual([
      { index: 0, id: 'call_a', type: 'function', function: head },
      ...rest(0),
      { index: 1, id: 'call_b', type: 'function', function: head },
      ...rest(1),
    ]);
  });

  it('has as many answers as asked for, each with its own index and seed', async () => {
    const engine = new MemoryEngine(says(said('Hi'), finish()));
    const { post } = await start(engine);
    const asked = { ...HELLO, n: 2, seed: 5 };
    const whole = (await (await post(asked)).json()) as Chunk & { choices: { message: object }[] };
    expect(whole.choices.map(({ index }) => index)).toEqual([0, 1]);
    expect(whole.usage).toMatchObject({ prompt_tokens: 9, completion_tokens: 10 });
    expect(engine.requests.map(({ again, sampling }) => [again, sampling.seed])).toEqual([
      [true, 5],
      [undefined, 6],
    ]);
    const { data } = await readEvents(await post({ ...asked, stream: true }));
    const told = (data as Chunk[]).flatMap((chunk) =>
      (chunk.choices ?? []).map((one) => [
        one.index,
        one.delta.role ?? one.delta.content ?? one.finish_reason,
      ]),
    );
    expect(told).toEqual([
      ...[0, 1].flatMap((index) => [
        [index, 'assistant'],
        [index, 'Hi'],
        [index, 'stop'],
      ]),
    ]);
  });

  it('tells the probabilities of its tokens when asked', async () => {
    const a = { text: 'a', bytes: [97], logprob: -0.5 };
    const b = { text: 'b', bytes: [98], logprob: -1 };
    const told: GenerateEvent = {
      type: 'text',
      channel: 'content',
      text: 'a',
      logprobs: [{ ...a, top: [a, b] }],
    };
    const engine = new MemoryEngine(says(told, finish()));
    const { post } = await start(engine);
    const asked = { ...HELLO, logprobs: true, top_logprobs: 2 };
    const { data } = await readEvents(await post({ ...asked, stream: true }));
    const wire = {
      content: [
        {
          token: 'a',
          logprob: -0.5,
          bytes: [97],
          top_logprobs: [
            { token: 'a', logprob: -0.5, bytes: [97] },
            { token: 'b', logprob: -1, bytes: [98] },
          ],
        },
      ],
      refusal: null,
    };
    expect(data[1]).toMatchObject({ choices: [{ logprobs: wire }] });
    expect(await (await post(asked)).json()).toMatchObject({ choices: [{ logprobs: wire }] });
    expect(engine.requests[0]?.topLogprobs).toBe(2);
  });

  it.each([{}, { stream_options: { include_usage: false } }])(
    'leaves the usage out unless asked for it: %j',
    async (options) => {
      const { post } = await start(new MemoryEngine(says(finish())));
      const { data } = await readEvents(await post({ ...stream, ...options }));
      expect((data as Chunk[]).some((chunk) => chunk.usage !== undefined)).toBe(false);
      expect(data.at(-1)).toBe('[DONE]');
    },
  );

  it('is kept alive by comments while the prompt is read', async () => {
    const gate = new Gate();
    const engine = new MemoryEngine(async function* () {
      yield { type: 'prefill', done: 3, total: 8 };
      await gate.opened;
      yield finish();
    });
    const { post } = await start(engine, { keepAliveMs: 5 });
    const response = await post(stream);
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    let text = '';
    while (!text.includes('keep-alive, 3 of 8 prompt tokens read')) {
      const { value, done } = await reader.read();
      expect(done).toBe(false);
      text += new TextDecoder().decode(value);
    }
    expect(text).toMatch(/^: keep-alive/m);
    gate.open();
    let done = false;
    while (!done) ({ done } = await reader.read());
  });

  it('that fails says so in the stream and has no [DONE]; the server lives', async () => {
    let fail = true;
    const engine = new MemoryEngine(async function* () {
      await Promise.resolve();
      yield said('par');
      if (fail) throw new FlashmoeError('ERR_ENGINE', 'layer_07.bin: 100 of 4096 bytes read');
      yield finish();
    });
    const { post, events } = await start(engine);
    const { data } = await readEvents(await post(stream));
    expect(data.at(-1)).toEqual({
      error: {
        message: 'layer_07.bin: 100 of 4096 bytes read',
        type: 'server_error',
        param: null,
        code: 'ERR_ENGINE',
      },
    });
    expect(data).not.toContain('[DONE]');
    expect(events).toContainEqual(expect.objectContaining({ type: 'error', code: 'ERR_ENGINE' }));
    fail = false;
    expect((await post(HELLO)).status).toBe(200);
  });
});

describe('a failure', () => {
  it('of the engine is a 500 with its code, and never part of an answer', async () => {
    let fail: Error | null = new FlashmoeError('ERR_ENGINE', 'layer_07.bin: short read');
    const { post } = await start(
      new MemoryEngine(async function* () {
        await Promise.resolve();
        yield said('partial');
        if (fail !== null) throw fail;
        yield finish();
      }),
    );
    const first = await post(HELLO);
    expect(first.status).toBe(500);
    expect(await errorOf(first)).toMatchObject({ type: 'server_error', code: 'ERR_ENGINE' });
    fail = new TypeError('a bug');
    expect(await errorOf(await post(HELLO))).toMatchObject({ code: 'ERR_INTERNAL' });
    fail = null;
    expect((await post(HELLO)).status).toBe(200);
  });

  it('to fit the context is a 400 with both numbers, before the stream begins', async () => {
    const { post } = await start(new MemoryEngine(says(finish())));
    const messages = [{ role: 'user', content: 'x'.repeat(1001) }];
    const response = await post({ messages, stream: true });
    expect(response.status).toBe(400);
    expect(response.headers.get('content-type')).toMatch('application/json');
    expect(await errorOf(response)).toMatchObject({
      type: 'exceed_context_size_error',
      code: 'context_length_exceeded',
      n_prompt_tokens: 1001,
      n_ctx: 1000,
    });
  });

  it('of the template is a 400 with its words', async () => {
    const { post } = await start(new MemoryEngine(says(finish())));
    const response = await post({ messages: [{ role: 'user', content: 'refuse' }] });
    expect(response.status).toBe(400);
    expect(await errorOf(response)).toMatchObject({
      type: 'invalid_request_error',
      param: 'messages',
      message: 'the template refuses: no',
    });
  });
});

describe('requests that come together', () => {
  it('are answered one at a time, in order', async () => {
    const gates = [new Gate(), new Gate(), new Gate()];
    const entered: string[] = [];
    const engine = new MemoryEngine(async function* (request) {
      entered.push(('messages' in request && request.messages[0]?.content) || '');
      await gates[entered.length - 1]?.opened;
      yield finish();
    });
    const { post, get } = await start(engine);
    const ask = (content: string) => post({ messages: [{ role: 'user', content }] });
    const waitFor = async (queue: number) => {
      while (((await (await get('/health')).json()) as { queue: number }).queue !== queue);
    };
    const first = ask('0');
    await waitFor(1);
    const second = ask('1');
    await waitFor(2);
    const third = ask('2');
    await waitFor(3);
    expect(entered).toEqual(['0']);
    for (const gate of gates) gate.open();
    await Promise.all([first, second, third]);
    expect(entered).toEqual(['0', '1', '2']);
  });

  it('are told their place while they wait', async () => {
    const gate = new Gate();
    const begun = new Gate();
    const engine = new MemoryEngine(async function* () {
      begun.open();
      await gate.opened;
      yield finish();
    });
    const { post } = await start(engine, { keepAliveMs: 5 });
    const first = post(HELLO);
    await begun.opened;
    const second = await post({ ...HELLO, stream: true });
    const reader = (second.body as ReadableStream<Uint8Array>).getReader();
    let text = '';
    while (!text.includes(': keep-alive, waiting behind 1')) {
      text += new TextDecoder().decode((await reader.read()).value);
    }
    gate.open();
    await first;
    while (!(await reader.read()).done);
  });

  it('are refused with Retry-After when too many wait', async () => {
    const gate = new Gate();
    const begun = new Gate();
    const engine = new MemoryEngine(async function* () {
      begun.open();
      await gate.opened;
      yield finish();
    });
    const { post } = await start(engine, { queueLimit: 0 });
    const first = post(HELLO);
    await begun.opened;
    const refused = await post({ ...HELLO, stream: true });
    expect(refused.status).toBe(503);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(await errorOf(refused)).toMatchObject({ type: 'unavailable_error', code: 'queue_full' });
    gate.open();
    expect((await first).status).toBe(200);
    expect((await post(HELLO)).status).toBe(200);
  });
});

describe('a client that leaves', () => {
  it.each([true, false])('has its generation cancelled (stream: %s)', async (stream) => {
    const cancelled = new Gate();
    const begun = new Gate();
    const engine = new MemoryEngine(async function* (_, signal) {
      if (engine.requests.length > 1) {
        yield finish();
        return;
      }
      yield said('word');
      begun.open();
      await aborted(signal);
      cancelled.open();
      throw signal.reason;
    });
    const { post } = await start(engine);
    const client = new AbortController();
    const answer = post({ ...HELLO, stream }, { signal: client.signal }).then((response) =>
      response.text(),
    );
    await begun.opened;
    client.abort();
    await expect(answer).rejects.toThrow();
    await cancelled.opened;
    expect((await post(HELLO)).status).toBe(200);
  });

  it('while it waits never reaches the engine', async () => {
    const gate = new Gate();
    const begun = new Gate();
    const engine = new MemoryEngine(async function* () {
      begun.open();
      await gate.opened;
      yield finish();
    });
    const { post, get } = await start(engine);
    const first = post(HELLO);
    await begun.opened;
    const client = new AbortController();
    const second = post({ ...HELLO, stream: true }, { signal: client.signal });
    await second;
    client.abort();
    while (((await (await get('/health')).json()) as { queue: number }).queue !== 1);
    gate.open();
    await first;
    await post(HELLO);
    expect(engine.requests).toHaveLength(2);
  });
});

describe('a server that is stopped', () => {
  it('lets the running answer end, refuses what waits and what comes', async () => {
    const gate = new Gate();
    const begun = new Gate();
    const engine = new MemoryEngine(async function* () {
      begun.open();
      await gate.opened;
      yield said('whole');
      yield finish();
    });
    const { post, close, get, url } = await start(engine);
    const first = post({ ...HELLO, stream: true });
    await begun.opened;
    const second = post(HELLO);
    while (((await (await get('/health')).json()) as { queue: number }).queue !== 2);
    const closed = close(60_000);
    expect((await second).status).toBe(503);
    await expect(fetch(`${url}/health`, { headers: { connection: 'close' } })).rejects.toThrow();
    gate.open();
    const { data } = await readEvents(await first);
    expect(JSON.stringify(data)).toContain('whole');
    expect(data.at(-1)).toBe('[DONE]');
    await closed;
    expect(engine.closed).toBe(true);
  });

  it('cancels an answer that takes longer than it may', async () => {
    const begun = new Gate();
    const engine = new MemoryEngine(async function* (_, signal) {
      yield said('part');
      begun.open();
      await aborted(signal);
      throw signal.reason;
    });
    const { post, close } = await start(engine);
    const answer = post({ ...HELLO, stream: true });
    await begun.opened;
    await close(0);
    const { data } = await readEvents(await answer);
    expect(data.at(-1)).toMatchObject({ error: { code: 'ERR_INTERRUPTED' } });
  });
});
