// Requests that once failed, each with the right answer: test/fixtures/cases. All of them go to one server, which is a
// process of its own. What is right is the answer that was asked for, or a 4xx that names what can't be done.

import { Ajv2020 } from 'ajv/dist/2020.js';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { packed, type Packed } from '../engine/packed.js';
import { start, type Program } from '../helpers/child.js';

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const FOLDER = new URL('../fixtures/cases/', import.meta.url);

interface Case {
  kind: string;
  path: string;
  body: Record<string, unknown>;
  schema: unknown;
  text: string;
  expected: string;
  requests_in_order: Record<string, unknown>[];
}

interface Said {
  status: number;
  text: string;
  json: unknown;
}

interface Chat {
  choices: {
    finish_reason: string;
    message: {
      content: string | null;
      tool_calls?: { function: { arguments: string } }[];
    };
    logprobs: { content: { bytes: number[] }[] } | null;
  }[];
  usage: { prompt_tokens_details: { cached_tokens: number } };
}

let model: Packed;
let server: Program;
let url = '';
beforeAll(async () => {
  model = await packed('tiny');
  const places = [join(model.dir, 'model'), join(model.dir, 'model', 'packed_experts')];
  server = start(new URL('./programs/serve-packed.ts', import.meta.url), places);
  url = await server.line();
});
afterAll(async () => {
  server.process.stdin?.end();
  await server.ended;
  await rm(model.dir, { recursive: true });
});

function read(folder: string, name: string): Case {
  return JSON.parse(readFileSync(new URL(`${folder}/${name}.json`, FOLDER), 'utf8')) as Case;
}

async function post(path: string, body: unknown, signal?: AbortSignal): Promise<Said> {
  const response = await fetch(url + path, {
    method: 'POST',
    body: typeof body === 'string' ? body : JSON.stringify(body),
    ...(signal && { signal }),
  });
  const text = await response.text();
  return { status: response.status, text, json: JSON.parse(text) as unknown };
}

const CHAT = '/v1/chat/completions';
const QUESTION = { messages: [{ role: 'user', content: 'x' }], enable_thinking: false };

function held(schema: unknown): object {
  return { response_format: { type: 'json_schema', json_schema: { name: 'x', schema } } };
}

function nested(depth: number, open: string, close: string, inner = ''): string {
  return open.repeat(depth) + inner + close.repeat(depth);
}

async function serverFaults(): Promise<string[]> {
  const metrics = await (await fetch(`${url}/metrics`)).text();
  return metrics.split('\n').filter((line) => /requests_total\{[^}]*status="5/.test(line));
}

function refusedFor(said: Said, word: string): void {
  expect(said).toMatchObject({ status: 400 });
  expect(said.text).toContain(word);
}

/** What is answered is valid by the schema, and may be the text of the case where that is right; else it is refused by name. */
async function isHeld({ schema, text, expected }: Case): Promise<void> {
  const ajv = new Ajv2020({ strict: false, formats: { date: /^\d{4}-\d\d-\d\d$/ } });
  // Draft 4's word for an address, which means nothing here.
  const valid = ajv.compile(without(schema as object, 'id'));
  const messages = [{ role: 'user', content: `Repeat: ${text}` }];
  const asked = { ...QUESTION, messages, max_tokens: 60, temperature: 0, ...held(schema) };
  const said = await post(CHAT, asked);
  if (said.status !== 200) {
    expect(expected).not.toBe('accepted');
    expect(said.status).toBe(400);
    const keywords = JSON.stringify(schema).match(/[a-z]\w+/gi) ?? [];
    expect(keywords.some((name) => said.text.includes(name))).toBe(true);
    return;
  }
  const [choice] = (said.json as Chat).choices;
  const content = choice?.message.content ?? '';
  if (choice?.finish_reason === 'stop') {
    expect(valid(JSON.parse(content)), `${content} by ${JSON.stringify(schema)}`).toBe(true);
  }
  if (expected !== 'accepted') return;
  // The very text that was once masked or refused.
  const exactly = { allOf: [schema, { const: JSON.parse(text) as unknown }] };
  const same = await post(CHAT, { ...asked, ...held(exactly) });
  expect(same).toMatchObject({ status: 200 });
  expect(JSON.parse((same.json as Chat).choices[0]?.message.content ?? '')).toEqual(
    JSON.parse(text),
  );
}

function without(schema: object, name: string): object {
  return Object.fromEntries(Object.entries(schema).filter(([key]) => key !== name));
}

/** Arguments of the call are valid by the tool's schema, or the keyword is named. */
async function isStrict({ path, body }: Case): Promise<void> {
  const said = await post(path, body);
  if (said.status === 400) return refusedFor(said, 'parameters');
  expect(said.status).toBe(200);
  const [tool] = body['tools'] as { function: { parameters: object } }[];
  const call = (said.json as Chat).choices[0]?.message.tool_calls?.[0];
  const args = JSON.parse(call?.function.arguments ?? '') as unknown;
  const valid = new Ajv2020({ strict: false }).compile(tool?.function.parameters ?? {});
  expect(valid(args), JSON.stringify(args)).toBe(true);
}

/** What is right in the words of the case, for those that aren't a schema. */
const API: Record<string, (one: Case) => Promise<void>> = {
  'strict-allof-enum': isStrict,
  'strict-anyof-enum-null': isStrict,
  'strict-anyof-pattern-null': isStrict,
  'strict-enum-with-marker': isStrict,
  'guided-choice': async ({ path, body }) => {
    const { json } = await post(path, body);
    expect((json as Chat).choices[0]?.message.content).toBe('zz');
  },
  'json-object-bad-schema': async ({ path, body }) => refusedFor(await post(path, body), 'type'),
  'logprobs-equal-content': async ({ path, body }) => {
    const choice = ((await post(path, body)).json as Chat).choices[0];
    const bytes = choice?.logprobs?.content.flatMap((token) => token.bytes) ?? [];
    expect(choice?.message.content?.length).toBeGreaterThan(0);
    expect(Buffer.from(bytes).toString('utf8')).toBe(choice?.message.content);
  },
  'seed-max-n3': async ({ path, body }) => {
    const { status, json } = await post(path, body);
    expect(status).toBe(200);
    expect((json as Chat).choices).toHaveLength(3);
  },
  'top-k-2-40': async ({ path, body }) => refusedFor(await post(path, body), 'top_k'),
  'prefill-messages': async ({ path, body }) => {
    const [question] = body['messages'] as unknown[];
    const asked = { ...body, messages: [question], temperature: 0 };
    const textOf = ({ json }: Said): string =>
      (json as { content: { text: string }[] }).content[0]?.text ?? '';
    const whole = textOf(await post(path, asked));
    expect(whole).toMatch(/^\d\d$/);
    const begun = { role: 'assistant', content: [{ type: 'text', text: whole.slice(0, 1) }] };
    const rest = await post(path, { ...asked, messages: [question, begun] });
    expect(textOf(rest)).toBe(whole.slice(1));
  },
  'deep-const-20000': async ({ path }) => {
    for (const depth of [3000, 20_000]) {
      const format = JSON.stringify(held('DEEP')).replace(
        '"DEEP"',
        `{"const":${nested(depth, '[', ']')}}`,
      );
      const body = `{"messages":[{"role":"user","content":"x"}],"max_tokens":2,${format.slice(1)}`;
      refusedFor(await post(path, body), 'deep');
    }
  },
  'deep-tool-args-5000': async ({ path }) => {
    const call = { name: 'f', arguments: `{"a":${nested(5000, '{"a":', '}', '1')}}` };
    const calls = [{ id: 'c', type: 'function', function: call }];
    const messages = [
      ...QUESTION.messages,
      { role: 'assistant', tool_calls: calls },
      { role: 'tool', content: 'r', tool_call_id: 'c' },
    ];
    refusedFor(await post(path, { messages, max_tokens: 2 }), 'deep');
  },
  'deep-tool-use-input-5000': async ({ path }) => {
    const use = `{"type":"tool_use","id":"t","name":"f","input":${nested(5000, '{"a":', '}', '1')}}`;
    const result = '{"type":"tool_result","tool_use_id":"t","content":"r"}';
    const body =
      `{"max_tokens":2,"messages":[{"role":"user","content":"x"},{"role":"assistant","content":[${use}]},` +
      `{"role":"user","content":[${result}]}]}`;
    refusedFor(await post(path, body), 'deep');
  },
  'broken-body-is-500': async () => {
    const before = await serverFaults();
    const socket = connect(Number(new URL(url).port), '127.0.0.1');
    await once(socket, 'connect');
    socket.write(
      `POST ${CHAT} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 500\r\n\r\n${' '.repeat(50)}`,
    );
    await fetch(`${url}/health`);
    socket.destroy();
    const left = /requests_total\{[^}]*status="499"/;
    await expect.poll(async () => (await fetch(`${url}/metrics`)).text()).toMatch(left);
    expect(await serverFaults()).toEqual(before);
  },
  'health-while-damaged': async () => {
    const health = async (): Promise<number> => (await fetch(`${url}/health`)).status;
    const path = join(model.dir, 'model', 'packed_experts', 'layer_03.bin');
    const bytes = await readFile(path);
    await truncate(path, 0);
    expect((await post(CHAT, { ...QUESTION, max_tokens: 2 })).status).toBe(500);
    expect(await health()).toBe(503);
    await writeFile(path, bytes);
    expect((await post(CHAT, { ...QUESTION, max_tokens: 2 })).status).toBe(200);
    expect(await health()).toBe(200);
  },
  'oversized-prompt-blocks': async () => {
    const streamed = await fetch(url + CHAT, {
      method: 'POST',
      body: JSON.stringify({
        ...QUESTION,
        max_tokens: 3000,
        temperature: 2,
        seed: 1,
        stream: true,
      }),
    });
    const reader = (streamed.body as ReadableStream<Uint8Array>).getReader();
    await reader.read();
    const refused = post(CHAT, {
      messages: [{ role: 'user', content: 'word '.repeat(320_000) }],
    });
    let longest = 0;
    for (let over = false, last = performance.now(); !over; last = performance.now()) {
      over = await Promise.race([reader.read().then(({ done }) => done), refused.then(() => true)]);
      longest = Math.max(longest, performance.now() - last);
    }
    await reader.cancel();
    refusedFor(await refused, 'exceed_context_size_error');
    // It was silent for as long as it took: 18.8 s. By how much a gap grows is never-stall.test.ts's.
    expect(longest).toBeLessThan(2500);
  },
  'oversized-prompt-stack': async () => {
    const messages = [{ role: 'user', content: '<'.repeat(5_000_000) }];
    refusedFor(await post(CHAT, { messages, max_tokens: 2 }), 'exceed_context_size_error');
  },
  'pattern-holds-queue': async ({ path, schema }) => {
    const left = new AbortController();
    const waiting = post(path, { ...QUESTION, max_tokens: 9, ...held(schema) }, left.signal).then(
      (said) => said,
      () => null,
    );
    await new Promise((resolve) => setTimeout(resolve, 1500));
    left.abort();
    // Refused before it left, where the machine is fast.
    const said = await waiting;
    if (said !== null) refusedFor(said, 'schema');
    const started = performance.now();
    expect((await post(path, { ...QUESTION, max_tokens: 1 })).status).toBe(200);
    expect(performance.now() - started).toBeLessThan(3000);
  },
  'pattern-time': async ({ schema }) => {
    refusedFor(await post(CHAT, { ...QUESTION, max_tokens: 9, ...held(schema) }), 'schema');
  },
};

describe('a request that once failed is answered as it should be, or refused by name', () => {
  const names = readdirSync(new URL('api/', FOLDER)).map((file) => file.replace(/\.json$/, ''));

  it.each(names)('%s', async (name) => {
    const one = read('api', name);
    const right = one.kind === 'grammar-accepts' ? isHeld : API[name];
    if (right === undefined) throw new Error(`nothing says what is right for ${name}`);
    await right(one);
  });
});

/** Answers to all requests of a case, in order. */
async function answers({ path, requests_in_order: requests }: Case): Promise<Said[]> {
  const all: Said[] = [];
  for (const body of requests) all.push(await post(path, body));
  return all;
}

/** Tokens of the last answer's prompt that were known. */
function cachedOf(all: readonly Said[]): number {
  const { usage } = all.at(-1)?.json as {
    usage: {
      prompt_tokens_details?: { cached_tokens: number };
      input_tokens_details?: { cached_tokens: number };
    };
  };
  return (usage.prompt_tokens_details ?? usage.input_tokens_details)?.cached_tokens ?? -1;
}

const PROMPTS: Record<string, (one: Case) => Promise<void>> = {
  'assistant-prefill': async ({ path, requests_in_order: [body] }) => {
    const { json } = await post(path, { ...body, enable_thinking: false });
    expect((json as { prompt: string }).prompt).toMatch(
      /<\|im_start\|>assistant\n[^|]*The answer$/,
    );
  },
  'mid-system-new-nudge': async (one) => {
    expect(cachedOf(await answers(one))).toBeGreaterThanOrEqual(840);
    const shown = await post('/apply-template', one.requests_in_order.at(-1));
    expect((shown.json as { prompt: string }).prompt).toMatch(/10\+10[^]*be brief[^]*11\+11/);
  },
  'ollama-tags': async ({ path }) => {
    const response = await fetch(url + path);
    const name = 'org/model:latest';
    expect(await response.json()).toMatchObject({ models: [{ name }] });
  },
  'responses-mid-developer': async (one) => {
    expect(cachedOf(await answers(one))).toBeGreaterThanOrEqual(850);
  },
  'same-document-other-question': async (one) => {
    expect(cachedOf(await answers(one))).toBeGreaterThanOrEqual(2000);
  },
  // Commands, not requests: test/cli/setup.test.ts types them.
  'serve-experts': async () => {
    const engine = await model.open({ expertsPerToken: 4 });
    expect(engine.model.expertsPerToken).toBe(4);
    await engine.close();
  },
  'tool-result-null': async (one) => {
    for (const { status } of await answers(one)) expect(status).toBe(200);
  },
  'total-tokens-marker': async (one) => {
    const all = await answers(one);
    expect(cachedOf(all)).toBeGreaterThanOrEqual(700);
    const [cold] = (all[0]?.json as Chat).choices;
    const [cached] = (all[1]?.json as Chat).choices;
    expect(cached?.message).toEqual(cold?.message);
  },
};

describe('a prompt of which much was read before', () => {
  const names = readdirSync(new URL('prompts/', FOLDER)).map((file) => file.replace(/\.json$/, ''));

  it.each(names)('%s', async (name) => {
    const right = PROMPTS[name];
    if (right === undefined) throw new Error(`nothing says what is right for ${name}`);
    await right(read('prompts', name));
  });
});
