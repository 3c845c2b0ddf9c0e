// Requests that once failed, each with the right answer: test/fixtures/cases/api. What is right is the answer
// that was asked for, or a 4xx that names what can't be done.

import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ServerEvent } from '../../src/server/context.js';
import { serve, type RunningServer } from '../../src/server/serve.js';
import { loadTokenizer } from '../../src/engine/tokenizer.js';
import { packed, type Packed } from '../engine/packed.js';

const FOLDER = new URL('../fixtures/cases/api/', import.meta.url);

interface Case {
  kind: string;
  path?: string;
  body?: Record<string, unknown>;
}

function readCase(name: string): Case {
  return JSON.parse(readFileSync(new URL(`${name}.json`, FOLDER), 'utf8')) as Case;
}

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

function nested(depth: number, open: string, close: string): string {
  return open.repeat(depth) + close.repeat(depth);
}

/** What a case's own words say is right, for those that aren't plainly "a 400". */
const RIGHT: Record<string, (said: Said) => void> = {
  'guided-choice': (said) => {
    if (said.status === 400) expect(said.text).toContain('guided_choice');
    else expect((said.json as Chat).choices[0]?.message.content).toBe('zz');
  },
  'json-object-bad-schema': ({ status }) => expect(status).toBe(400),
  'logprobs-equal-content': ({ status, json }) => {
    expect(status).toBe(200);
    const choice = (json as Chat).choices[0];
    const bytes = choice?.logprobs?.content.flatMap((token) => token.bytes) ?? [];
    expect(choice?.message.content?.length).toBeGreaterThan(0);
    expect(Buffer.from(bytes).toString('utf8')).toBe(choice?.message.content);
  },
  'seed-max-n3': ({ status, json }) => {
    expect(status).toBe(200);
    expect((json as Chat).choices).toHaveLength(3);
  },
  'top-k-2-40': ({ status, text }) => {
    expect(status).toBe(400);
    expect(text).toContain('top_k');
  },
};

describe('a request that once failed', () => {
  for (const [name, right] of Object.entries(RIGHT)) {
    it(`is answered or refused by name: ${name}`, async () => {
      const { path = '', body } = readCase(name);
      right(await post(path, body));
    });
  }

  it('goes on from the beginning of an answer: prefill-messages', async () => {
    const { path = '', body } = readCase('prefill-messages');
    const [question] = (body as { messages: unknown[] }).messages;
    const prompt = { ...body, messages: [question], temperature: 0 };
    const textOf = (said: Said): string =>
      (said.json as { content: { text: string }[] }).content[0]?.text ?? '';
    const whole = textOf(await post(path, prompt));
    expect(whole).toMatch(/^\d\d$/);
    const begun = { role: 'assistant', content: [{ type: 'text', text: whole.slice(0, 1) }] };
    const rest = await post(path, { ...prompt, messages: [question, begun] });
    expect(textOf(rest)).toBe(whole.slice(1));

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

  it.each([
    ['deep-const-20000', 20_000],
    ['deep-const-20000', 3_000],
  ])('is refused where a schema is nested too deeply: %s, %i', async (name, depth) => {
    const { path = '' } = readCase(name);
    const schema = `{"const":${nested(depth, '[', ']')}}`;
    const format = `{"type":"json_schema","json_schema":{"name":"x","schema":${schema}}}`;
    const said = await post(
      path,
      `{"messages":[{"role":"user","content":"x"}],"max_tokens":2,"response_format":${format}}`,
    );
    expect(said.status).toBe(400);
    expect(said.text).toContain('deep');
  });

  it('is refused where arguments of a call in the history are nested too deeply', async () => {
    const deep = `{"a":${nested(5000, '{"a":', '}').replace('}', '1}')}}`;
    const call = { name: 'f', arguments: deep };
    const chat = await post('/v1/chat/completions', {
      messages: [
        { role: 'user', content: 'x' },
        { role: 'assistant', tool_calls: [{ id: 'c', type: 'function', function: call }] },
        { role: 'tool', content: 'r', tool_call_id: 'c' },
      ],
      max_tokens: 2,
    });
    expect(chat.status).toBe(400);
    expect(chat.text).toContain('deep');
    const use = `{"type":"tool_use","id":"t","name":"f","input":${deep}}`;
    const messages = await post(
      '/v1/messages',
      `{"max_tokens":2,"messages":[{"role":"user","content":"x"},{"role":"assistant","content":[${use}]},` +
        `{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"r"}]}]}`,
    );
    expect(messages.status).toBe(400);
    expect(messages.text).toContain('deep');
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

  it('makes /health bad while every answer fails, and good again after one that did not', async () => {
    const asked = { messages: [{ role: 'user', content: 'x' }], max_tokens: 2 };
    const health = async (): Promise<number> => (await fetch(`${server.url}/health`)).status;
    const path = join(model.dir, 'model', 'packed_experts', 'layer_03.bin');
    const bytes = await readFile(path);
    await truncate(path, 0);
    expect((await post('/v1/chat/completions', asked)).status).toBe(500);
    expect(await health()).toBe(503);
    await writeFile(path, bytes);
    expect((await post('/v1/chat/completions', asked)).status).toBe(200);
    expect(await health()).toBe(200);
    events.splice(0);
  });
});

async function metric(line: RegExp): Promise<string[]> {
  const text = await (await fetch(`${server.url}/metrics`)).text();
  return text.split('\n').filter((one) => line.test(one));
}

describe('the cases', () => {
  it('are all known here or to the test of the grammar', () => {
    const names = readdirSync(FOLDER).map((file) => file.replace(/\.json$/, ''));
    expect(names.length).toBe(41);
  });
});
