import { describe, expect, it } from 'vitest';
import { aborted, finish, MemoryEngine, said, says } from '../memory-engine.js';
import { readEvents, start } from '../running.js';
import type { GenerateEvent } from '../../../src/engine/types.js';

const HELLO = { model: 'm', max_tokens: 50, messages: [{ role: 'user', content: 'hello' }] };
const CALL: GenerateEvent[] = [
  { type: 'tool-call', index: 0, id: 'call_a', name: 'weather' },
  { type: 'tool-arguments', index: 0, json: '{"city":' },
  { type: 'tool-arguments', index: 0, json: '"Paris"}' },
];

const ask = (started: Awaited<ReturnType<typeof start>>, body: unknown, path = '/v1/messages') =>
  started.get(path, { method: 'POST', body: JSON.stringify(body) });

describe('messages', () => {
  it('answer with blocks, a stop reason and usage', async () => {
    const engine = new MemoryEngine(
      says(said('hm', 'reasoning'), said('Let me'), ...CALL, finish('tool_calls')),
    );
    const response = await ask(await start(engine), HELLO);
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({
      id: expect.stringMatching(/^msg_/) as string,
      type: 'message',
      role: 'assistant',
      model: 'org/test-model',
      content: [
        { type: 'thinking', thinking: 'hm', signature: '' },
        { type: 'text', text: 'Let me' },
        { type: 'tool_use', id: 'call_a', name: 'weather', input: { city: 'Paris' } },
      ],
      stop_reason: 'tool_use',
      stop_sequence: null,
      usage: {
        input_tokens: 7,
        cache_creation_input_tokens: 0,
        cache_read_input_tokens: 2,
        output_tokens: 5,
      },
    });
  });

  it('stream one block after the other between a start and a stop', async () => {
    const engine = new MemoryEngine(
      says(said('hm', 'reasoning'), said('a'), said('b'), ...CALL, finish('tool_calls')),
    );
    const response = await ask(await start(engine), { ...HELLO, stream: true });
    const { data } = await readEventLines(response);
    expect(data.map(({ type, index }) => [type, index])).toEqual([
      ['message_start', undefined],
      ['content_block_start', 0],
      ['content_block_delta', 0],
      ['content_block_delta', 0],
      ['content_block_stop', 0],
      ['content_block_start', 1],
      ['content_block_delta', 1],
      ['content_block_delta', 1],
      ['content_block_stop', 1],
      ['content_block_start', 2],
      ['content_block_delta', 2],
      ['content_block_delta', 2],
      ['content_block_stop', 2],
      ['message_delta', undefined],
      ['message_stop', undefined],
    ]);
    expect(data[0]).toMatchObject({ message: { usage: { input_tokens: 5, output_tokens: 0 } } });
    expect(data.find(({ index }) => index === 2)).toMatchObject({
      content_block: { type: 'tool_use', input: {} },
    });
    expect(data.at(-2)).toMatchObject({
      delta: { stop_reason: 'tool_use', stop_sequence: null },
      usage: { output_tokens: 5 },
    });
  });

  it('reach the engine as a conversation, results before what is said beside them', async () => {
    const engine = new MemoryEngine(says(finish()));
    const started = await start(engine);
    await ask(started, {
      ...HELLO,
      system: [
        { type: 'text', text: 'x-anthropic-billing-header: cc_version=1; cch=abc' },
        { type: 'text', text: 'Be brief.' },
      ],
      messages: [
        { role: 'user', content: [{ type: 'text', text: 'q' }] },
        {
          role: 'assistant',
          content: [
            { type: 'thinking', thinking: 'hm', signature: 's' },
            { type: 'text', text: 'I look' },
            { type: 'tool_use', id: 't1', name: 'f', input: { a: 1 } },
          ],
        },
        {
          role: 'user',
          content: [
            { type: 'text', text: 'and?' },
            {
              type: 'tool_result',
              tool_use_id: 't1',
              is_error: true,
              content: [{ type: 'text', text: 'no' }],
            },
          ],
        },
      ],
      tools: [{ name: 'f', input_schema: { type: 'object' } }],
      tool_choice: { type: 'any', disable_parallel_tool_use: true },
      stop_sequences: ['END'],
      thinking: { type: 'enabled', budget_tokens: 1024 },
    });
    expect(engine.requests[0]).toEqual({
      thinkingBudget: 1024,
      messages: [
        { role: 'system', content: 'Be brief.' },
        { role: 'user', content: 'q' },
        {
          role: 'assistant',
          content: 'I look',
          reasoning: 'hm',
          toolCalls: [{ id: 't1', name: 'f', arguments: { a: 1 } }],
        },
        { role: 'tool', content: 'Error: no', toolCallId: 't1' },
        { role: 'user', content: 'and?' },
      ],
      tools: [{ name: 'f', parameters: { type: 'object' } }],
      toolChoice: 'required',
      parallelToolCalls: false,
      thinking: true,
      maxTokens: 50,
      stop: ['END'],
      sampling: {},
    });
  });

  it.each([
    [{ ...HELLO, max_tokens: undefined }, /max_tokens/],
    [{ max_tokens: 5 }, /messages/],
    [{ ...HELLO, tool_choice: { type: 'tool', name: 'g' } }, /no tool "g"/],
    [
      { ...HELLO, messages: [{ role: 'user', content: [{ type: 'audio' }] }] },
      /audio input is not supported/,
    ],
    [
      { ...HELLO, messages: [{ role: 'user', content: 'x'.repeat(1001) }] },
      /prompt is too long: 1001 tokens > 1000 maximum/,
    ],
  ])('%j are refused in the words of this API', async (body, message) => {
    const response = await ask(await start(new MemoryEngine(says(finish()))), body);
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({
      type: 'error',
      error: {
        type: 'invalid_request_error',
        message: expect.stringMatching(message) as string,
      },
    });
  });

  it('are counted without a limit on the answer', async () => {
    const started = await start(new MemoryEngine(says(finish())));
    const body = { messages: HELLO.messages, system: 'four' };
    const response = await ask(started, body, '/v1/messages/count_tokens');
    expect(await response.json()).toEqual({ input_tokens: 9 });
  });

  it('are kept alive by pings, and end with the client', async () => {
    let gone = false;
    const engine = new MemoryEngine(async function* (_, signal) {
      yield { type: 'prefill', done: 1, total: 2 };
      await aborted(signal);
      gone = true;
    });
    const started = await start(engine, { keepAliveMs: 5 });
    const leave = new AbortController();
    const response = await started.get('/v1/messages', {
      method: 'POST',
      body: JSON.stringify({ ...HELLO, stream: true }),
      signal: leave.signal,
    });
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    let text = '';
    while (!text.includes('event: ping'))
      text += new TextDecoder().decode((await reader.read()).value);
    expect(text).toContain(': keep-alive, 1 of 2 prompt tokens read');
    leave.abort();
    await expect.poll(() => gone).toBe(true);
  });
});

interface WireEvent {
  type: string;
  index?: number;
  [member: string]: unknown;
}

async function readEventLines(response: Response): Promise<{ data: WireEvent[] }> {
  const text = (await response.text()).replace(/^event: .*\n/gm, '');
  return (await readEvents(new Response(text))) as { data: WireEvent[] };
}
