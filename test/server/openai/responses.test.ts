import { describe, expect, it } from 'vitest';
import type { GenerateEvent } from '../../../src/engine/types.js';
import { ResponseStore } from '../../../src/server/openai/responses/store.js';
import { finish, MemoryEngine, said, says } from '../memory-engine.js';
import { errorOf, start } from '../running.js';

const CALL: GenerateEvent[] = [
  { type: 'tool-call', index: 0, id: 'call_a', name: 'weather' },
  { type: 'tool-arguments', index: 0, json: '{"city":"Paris"}' },
];

async function ask(started: Awaited<ReturnType<typeof start>>, body: object): Promise<Response> {
  return await started.get('/v1/responses', { method: 'POST', body: JSON.stringify(body) });
}

interface Wire {
  type: string;
  id: string;
  sequence_number: number;
  output_index?: number;
  response?: { status: string; output: { type: string }[] };
}

describe('a response', () => {
  it('is an object with items and every documented key', async () => {
    const engine = new MemoryEngine(
      says(said('hm', 'reasoning'), said('Hi'), ...CALL, finish('tool_calls')),
    );
    const body = (await (await ask(await start(engine), { input: 'hello' })).json()) as object;
    expect(body).toMatchObject({
      id: expect.stringMatching(/^resp_/) as string,
      object: 'response',
      status: 'completed',
      error: null,
      incomplete_details: null,
      previous_response_id: null,
      output: [
        { type: 'reasoning', summary: [], content: [{ type: 'reasoning_text', text: 'hm' }] },
        {
          type: 'message',
          role: 'assistant',
          status: 'completed',
          content: [{ type: 'output_text', text: 'Hi', annotations: [], logprobs: [] }],
        },
        {
          type: 'function_call',
          call_id: 'call_a',
          name: 'weather',
          arguments: '{"city":"Paris"}',
        },
      ],
      usage: { input_tokens: 9, output_tokens: 5, total_tokens: 14 },
    });
  });

  it('is streamed item by item, numbered through, and ends with the whole', async () => {
    const engine = new MemoryEngine(says(said('H'), said('i'), ...CALL, finish('tool_calls')));
    const response = await ask(await start(engine), { input: 'hello', stream: true });
    const events = (await response.text())
      .split('\n')
      .filter((line) => line.startsWith('data: '))
      .map((line) => JSON.parse(line.slice(6)) as Wire);
    expect(events.map(({ type }) => type.replace('response.', ''))).toEqual([
      'created',
      'in_progress',
      'output_item.added',
      'content_part.added',
      'output_text.delta',
      'output_text.delta',
      'output_text.done',
      'content_part.done',
      'output_item.done',
      'output_item.added',
      'function_call_arguments.delta',
      'function_call_arguments.done',
      'output_item.done',
      'completed',
    ]);
    expect(events.map((event) => event.sequence_number)).toEqual(events.map((_, i) => i));
    expect(events.at(-1)?.response?.output.map(({ type }) => type)).toEqual([
      'message',
      'function_call',
    ]);
  });

  it('that was cut off is incomplete', async () => {
    const engine = new MemoryEngine(says(said('Hi'), finish('length')));
    const body = await (await ask(await start(engine), { input: 'hello' })).json();
    expect(body).toMatchObject({
      status: 'incomplete',
      incomplete_details: { reason: 'max_output_tokens' },
    });
  });

  it('goes on from an earlier one, which is kept unless it was not to be', async () => {
    const engine = new MemoryEngine(says(said('Hi'), finish()));
    const started = await start(engine);
    const instructions = 'Be brief.';
    const first = (await (await ask(started, { input: 'one', instructions })).json()) as Wire;
    const next = { input: 'two', previous_response_id: first.id, store: false };
    const second = (await (await ask(started, next)).json()) as Wire;
    expect(engine.requests[1]?.messages).toEqual([
      { role: 'user', content: 'one' },
      { role: 'assistant', content: 'Hi' },
      { role: 'user', content: 'two' },
    ]);
    const refused = await ask(started, { input: 'three', previous_response_id: second.id });
    expect(refused.status).toBe(404);
    expect(await errorOf(refused)).toMatchObject({ code: 'previous_response_not_found' });
  });

  it('has a history of items, of which those of one turn become one message', async () => {
    const engine = new MemoryEngine(says(finish()));
    await ask(await start(engine), {
      instructions: 'Sys',
      input: [
        { type: 'message', role: 'user', content: [{ type: 'input_text', text: 'q' }] },
        { type: 'reasoning', summary: [], content: [{ type: 'reasoning_text', text: 'hm' }] },
        { type: 'message', role: 'assistant', content: [{ type: 'output_text', text: 'I look' }] },
        { type: 'function_call', call_id: 'c1', name: 'f', arguments: '{"a":1}' },
        { type: 'function_call_output', call_id: 'c1', output: 'ok' },
      ],
      tools: [
        { type: 'function', name: 'f', strict: true },
        { type: 'custom', name: 'apply_patch' },
      ],
      reasoning: { effort: 'none' },
    });
    expect(engine.requests[0]).toMatchObject({
      messages: [
        { role: 'system', content: 'Sys' },
        { role: 'user', content: 'q' },
        {
          role: 'assistant',
          content: 'I look',
          reasoning: 'hm',
          toolCalls: [{ id: 'c1', name: 'f', arguments: { a: 1 } }],
        },
        { role: 'tool', content: 'ok', toolCallId: 'c1' },
      ],
      tools: [{ name: 'f', strict: true }, { name: 'apply_patch' }],
      thinking: false,
    });
  });

  it('without a schema where one is asked for is refused', async () => {
    const body = { input: 'x', text: { format: { type: 'json_schema', name: 'n' } } };
    const response = await ask(await start(new MemoryEngine(says(finish()))), body);
    expect(response.status).toBe(400);
    expect(await errorOf(response)).toMatchObject({ param: 'text.format.schema' });
  });

  it('is forgotten when newer ones need its place', () => {
    const store = new ResponseStore(2);
    for (const id of ['a', 'b', 'c']) {
      store.put(id, [{ role: 'user', content: id }], { id, output: [{ id: `msg_${id}` }] });
    }
    expect(() => store.get('a')).toThrow('no response a');
    expect(store.item('msg_a')).toBeNull();
    expect(store.item('msg_c')).toEqual({ id: 'msg_c' });
    expect(store.response('c')).toMatchObject({ id: 'c' });
    expect(store.get('c')).toEqual([{ role: 'user', content: 'c' }]);
  });
});

describe('a completion', () => {
  const complete = async (started: Awaited<ReturnType<typeof start>>, body: object) =>
    await started.get('/v1/completions', { method: 'POST', body: JSON.stringify(body) });

  it('goes on from each prompt, as often as asked', async () => {
    const engine = new MemoryEngine(says(said(' there'), finish('length')));
    const asked = { prompt: ['a', 'b'], n: 2, echo: true, seed: 3, stop: 'x' };
    const response = await complete(await start(engine), asked);
    expect(await response.json()).toMatchObject({
      id: expect.stringMatching(/^cmpl-/) as string,
      object: 'text_completion',
      choices: ['a', 'a', 'b', 'b'].map((prompt, index) => ({
        index,
        text: `${prompt} there`,
        finish_reason: 'length',
        logprobs: null,
      })),
      usage: { completion_tokens: 20 },
    });
    expect(engine.texts.map(({ prompt, sampling }) => [prompt, sampling.seed])).toEqual([
      ['a', 3],
      ['a', 4],
      ['b', 3],
      ['b', 4],
    ]);
    expect(engine.texts[0]).toMatchObject({ maxTokens: 16, stop: ['x'] });
  });

  it('is streamed, from token ids too', async () => {
    const engine = new MemoryEngine(says(said('x'), finish()));
    const response = await complete(await start(engine), { prompt: [1, 2], stream: true });
    const text = await response.text();
    expect(text).toContain('"text":"x"');
    expect(text.endsWith('data: [DONE]\n\n')).toBe(true);
    expect(engine.texts[0]?.prompt).toEqual([1, 2]);
  });

  it('between two texts is refused by name', async () => {
    const response = await complete(await start(new MemoryEngine(says(finish()))), {
      prompt: 'a',
      suffix: 'b',
    });
    expect(response.status).toBe(400);
    expect(await errorOf(response)).toMatchObject({ param: 'suffix' });
  });
});

describe('metrics', () => {
  it('count requests, answers, tokens and bytes', async () => {
    const { post, get } = await start(new MemoryEngine(says(finish())));
    await post({ messages: [{ role: 'user', content: 'hello' }] });
    await get('/made/up');
    const response = await get('/metrics');
    expect(response.headers.get('content-type')).toMatch('text/plain; version=0.0.4');
    const text = await response.text();
    for (const line of [
      'flashmoe_ready 1',
      'flashmoe_requests_total{path="/v1/chat/completions",status="200"} 1',
      'flashmoe_requests_total{path="other",status="404"} 1',
      'flashmoe_generations_total{reason="stop"} 1',
      'flashmoe_completion_tokens_total 5',
      'flashmoe_expert_bytes_read_total 4096',
    ]) {
      expect(text.split('\n')).toContain(line);
    }
  });
});
