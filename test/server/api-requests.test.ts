// What a request is refused for, and what is told of that: to the client, and in the log.

import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ServerEvent } from '../../src/server/context.js';
import { serve, type RunningServer } from '../../src/server/serve.js';
import { loadTokenizer } from '../../src/engine/tokenizer.js';
import { packed, type Packed } from '../engine/packed.js';

interface Said {
  status: number;
  text: string;
  headers: Headers;
  json: unknown;
}

interface Chat {
  choices: {
    message: { content: string | null };
    logprobs: { content: { token: string; bytes: number[] }[] } | null;
  }[];
}

let model: Packed;
let server: RunningServer;
const events: ServerEvent[] = [];
/** Of the mark that ends a thought. */
let ids: number[] = [];

beforeAll(async () => {
  model = await packed('tiny');
  server = await serve({
    port: 0,
    modelId: 'tiny',
    load: () => model.open(),
    version: '1.2.3',
    now: Date.now,
    emit: (event) => events.push(event),
  });
  await server.modelSettled;
  const tokenizer = await loadTokenizer(join(import.meta.dirname, '..', '..', 'models', 'tiny'));
  ids = tokenizer.controlTokens.filter(({ content }) => content === '</think>').map(({ id }) => id);
});
afterAll(async () => {
  await server.close(0);
  await rm(model.dir, { recursive: true });
});

async function post(path: string, body: unknown, signal?: AbortSignal): Promise<Said> {
  const response = await fetch(server.url + path, {
    method: 'POST',
    body: typeof body === 'string' ? body : JSON.stringify(body),
    ...(signal && { signal }),
  });
  const text = await response.text();
  return {
    status: response.status,
    text,
    headers: response.headers,
    json: JSON.parse(text) as unknown,
  };
}

describe('a request', () => {
  it('goes on from the beginning of an answer unless it says otherwise, and not together with a format', async () => {
    const question = { role: 'user', content: 'What is 12 + 30?' };
    const prompt = { max_tokens: 20, temperature: 0 };
    const chat = {
      ...prompt,
      messages: [question, { role: 'assistant', content: 'The answer is' }],
    };
    const shown = async (further: object): Promise<string> =>
      ((await post('/apply-template', { ...chat, ...further })).json as { prompt: string }).prompt;
    expect(await shown({})).toMatch(/The answer is$/);
    expect(await shown({ continue_final_message: true })).toMatch(/The answer is$/);
    expect(await shown({ continue_final_message: false })).not.toMatch(/The answer is$/);
    const format = { type: 'json_object' };
    const refused = await post('/v1/chat/completions', { ...chat, response_format: format });
    expect(refused.status).toBe(400);
    expect(refused.text).toContain('response_format');
  });

  it('has an id that the log has, too, with the reason', async () => {
    const said = await post('/v1/chat/completions', { messages: [] });
    expect(said.status).toBe(400);
    const id = said.headers.get('x-request-id');
    const event = events.find((one) => one.type === 'request' && one.id === id);
    expect(event).toMatchObject({
      status: 400,
      reason: expect.stringContaining('messages') as string,
    });
  });

  it.each([
    ['logit_bias', { logit_bias: { '99999999': 1 } }],
    ['logit_bias', { logit_bias: { '5': 101 } }],
    ['seed', { seed: 1e300 }],
    ['n', { n: 17 }],
    ['top_p', { top_p: 0 }],
    ['guided_grammar', { guided_grammar: 'root ::= "x"' }],
    ['structured_outputs', { structured_outputs: { grammar: 'x' } }],
    ['guided_json', { guided_json: { type: 'object' }, response_format: { type: 'json_object' } }],
    ['repetition_penalty', { repetition_penalty: 0 }],
  ])('is a 400 that names %s', async (field, further) => {
    const asked = { messages: [{ role: 'user', content: 'x' }], max_tokens: 1, ...further };
    const { status, json } = await post('/v1/chat/completions', asked);
    expect(status).toBe(400);
    expect((json as { error: { param: string } }).error.param).toContain(field);
  });

  it('takes results of tools that are null, and fewer repetitions', async () => {
    const call = { name: 'f', arguments: '{}' };
    const said = await post('/v1/chat/completions', {
      messages: [
        { role: 'user', content: 'x' },
        {
          role: 'assistant',
          content: null,
          tool_calls: [{ id: 'c', type: 'function', function: call }],
        },
        { role: 'tool', content: null, tool_call_id: 'c' },
      ],
      max_tokens: 2,
    });
    expect(said.status).toBe(200);
    const often = { messages: [{ role: 'user', content: 'x' }], max_tokens: 60, temperature: 0 };
    const words = async (further: object): Promise<string> => {
      const asked = { ...often, enable_thinking: false, ...further };
      const chat = (await post('/v1/chat/completions', asked)).json as Chat;
      return chat.choices[0]?.message.content ?? '';
    };
    const plain = await words({});
    expect(plain).toContain('a copy');
    expect(await words({ repetition_penalty: 1 })).toBe(plain);
    // "a" has been said.
    expect(await words({ repetition_penalty: 5 })).not.toContain('a copy');
    expect(await words({ repeat_penalty: 5 })).not.toContain('a copy');
  });

  it('has its thought closed at the budget that it gave', async () => {
    const asked = {
      messages: [{ role: 'user', content: 'What is 12 + 30?' }],
      temperature: 0,
      max_tokens: 60,
    };
    const said = await post('/v1/chat/completions', {
      ...asked,
      enable_thinking: true,
      thinking_budget: 3,
      // It would think for ever: the mark that ends a thought is forbidden to it.
      logit_bias: Object.fromEntries(ids.map((id) => [id, -100])),
    });
    const { usage, choices } = said.json as {
      usage: { completion_tokens_details: { reasoning_tokens: number } };
      choices: { message: { content: string; reasoning_content?: string } }[];
    };
    expect(said.status).toBe(200);
    // The mark is counted, too.
    expect(usage.completion_tokens_details.reasoning_tokens).toBe(4);
    expect(choices[0]?.message.content).not.toBe('');
    expect(choices[0]?.message.content).not.toContain('think');
  });

  it('is no failure of the server when its body never arrives', async () => {
    const before = await metric(/flashmoe_requests_total\{[^}]*status="5/);
    const socket = connect(server.port, '127.0.0.1');
    socket.write(
      'POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 500\r\n\r\n' +
        ' '.repeat(50),
    );
    await once(socket, 'connect');
    // The server answers another one on a later connection, so it has read this one's beginning.
    await fetch(`${server.url}/health`);
    socket.destroy();
    await expect
      .poll(() => events.findLast((event) => event.type === 'request' && event.method === 'POST'))
      .toMatchObject({ status: 499 });
    expect(await metric(/flashmoe_requests_total\{[^}]*status="5/)).toEqual(before);
    expect(events.filter(({ type }) => type === 'error')).toEqual([]);
  });
});

async function metric(line: RegExp): Promise<string[]> {
  const text = await (await fetch(`${server.url}/metrics`)).text();
  return text.split('\n').filter((one) => line.test(one));
}
