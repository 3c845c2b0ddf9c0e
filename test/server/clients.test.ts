// The packages of the two APIs' own makers, unmodified, against a real server with a real, tiny, untrained model. It says
// nonsense, so what is checked is what a client can rely on: types, order, ends, and what a grammar holds.

import { rm } from 'node:fs/promises';
import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packed, type Packed } from '../engine/packed.js';
import { start, type Started } from './running.js';

const MODEL = 'qwen3_5_moe';
const SCHEMA = {
  type: 'object' as const,
  properties: {
    city: { enum: ['Paris', 'Rome'] },
    days: { type: 'integer' as const, minimum: 1, maximum: 9 },
  },
  required: ['city', 'days'],
  additionalProperties: false,
};
interface Place {
  city: string;
  days: number;
}
const expectPlace = (value: unknown): void => {
  const { city, days } = value as Place;
  expect(['Paris', 'Rome']).toContain(city);
  expect(days).toBeGreaterThanOrEqual(1);
  expect(days).toBeLessThanOrEqual(9);
};

let model: Packed;
beforeAll(async () => {
  model = await packed(MODEL);
});
afterAll(() => rm(model.dir, { recursive: true }));

/** A client may ask for many tokens of a prompt with tools; a busy machine takes its time. */
const PATIENCE = { timeout: 90_000 };

async function running(): Promise<Started> {
  const server = await start(() => model.open());
  await server.modelSettled;
  return server;
}

/** The running answer is over on the server, too. */
const isIdle = async ({ get }: Started): Promise<void> => {
  await expect
    .poll(async () => ((await (await get('/health')).json()) as { queue: number }).queue, {
      timeout: 10_000,
    })
    .toBe(0);
};

describe('the openai package', () => {
  const client = ({ url }: Started) =>
    new OpenAI({ baseURL: `${url}/v1`, apiKey: 'x', maxRetries: 0 });
  const messages = [{ role: 'user' as const, content: 'Weather in Paris?' }];
  const shared = { model: MODEL, messages, seed: 3, max_tokens: 300 };
  const quiet = { reasoning_effort: 'none' as const };
  const tools = [
    { type: 'function' as const, function: { name: 'weather', parameters: SCHEMA, strict: true } },
  ];

  it('streams an answer and adds it up', async () => {
    const openai = client(await running());
    const stream = openai.chat.completions.stream({
      ...shared,
      max_tokens: 16,
      stream_options: { include_usage: true },
    });
    let text = '';
    stream.on('content', (delta) => (text += delta));
    const final = await stream.finalChatCompletion();
    expect(final.choices[0]?.finish_reason).toBe('length');
    expect(final.usage?.completion_tokens).toBe(16);
    expect(final.choices[0]?.message.content ?? '').toBe(text);
  });

  it('has its required call, in one piece and streamed', PATIENCE, async () => {
    const openai = client(await running());
    const asked = {
      ...shared,
      ...quiet,
      tools,
      tool_choice: 'required' as const,
      parallel_tool_calls: false,
    };
    const whole = await openai.chat.completions.create(asked);
    const call = whole.choices[0]?.message.tool_calls?.[0];
    if (call?.type !== 'function') throw new Error('no call');
    expect(call.function.name).toBe('weather');
    expectPlace(JSON.parse(call.function.arguments));
    const streamed = await openai.chat.completions.stream(asked).finalChatCompletion();
    const again = streamed.choices[0]?.message.tool_calls?.[0];
    if (again?.type !== 'function') throw new Error('no call');
    expect(again.function.arguments).toBe(call.function.arguments);
  });

  it('has JSON of its schema, probabilities and several answers', async () => {
    const openai = client(await running());
    const completion = await openai.chat.completions.create({
      ...shared,
      ...quiet,
      n: 2,
      logprobs: true,
      top_logprobs: 2,
      response_format: { type: 'json_schema', json_schema: { name: 'place', schema: SCHEMA } },
    });
    expect(completion.choices).toHaveLength(2);
    for (const choice of completion.choices) {
      expectPlace(JSON.parse(choice.message.content ?? ''));
      const told = choice.logprobs?.content ?? [];
      expect(told.map((one) => one.token).join('')).toBe(choice.message.content);
      expect(told.every((one) => one.top_logprobs.length === 2 && one.logprob <= 0)).toBe(true);
    }
  });

  it('has responses, streamed, going on from each other, in JSON of a schema', async () => {
    const openai = client(await running());
    const reasoning = { effort: 'none' as const };
    const format = { type: 'json_schema' as const, name: 'place', schema: SCHEMA };
    const first = await openai.responses.create({
      model: MODEL,
      input: 'Where?',
      reasoning,
      text: { format },
    });
    expectPlace(JSON.parse(first.output_text));
    const stream = openai.responses.stream({
      model: MODEL,
      input: 'And then?',
      previous_response_id: first.id,
      max_output_tokens: 12,
      reasoning,
    });
    let text = '';
    stream.on('response.output_text.delta', ({ delta }) => (text += delta));
    const second = await stream.finalResponse();
    expect(second.status).toBe('incomplete');
    expect(second.output_text).toBe(text);
    expect(second.usage?.input_tokens).toBeGreaterThan(first.usage?.input_tokens ?? 0);
  });

  it(
    'has a custom tool called with its text, among the items of a response',
    PATIENCE,
    async () => {
      const openai = client(await running());
      const stream = openai.responses.stream({
        model: MODEL,
        input: 'Write it down',
        reasoning: { effort: 'none' },
        max_output_tokens: 60,
        tools: [{ type: 'custom', name: 'note', description: 'Takes notes.' }],
        tool_choice: { type: 'custom', name: 'note' },
        parallel_tool_calls: false,
      });
      let text = '';
      stream.on('response.custom_tool_call_input.done', ({ input }) => (text += input));
      const { output } = await stream.finalResponse();
      const call = output.find(({ type }) => type === 'custom_tool_call');
      expect(call).toMatchObject({ name: 'note', input: text });
    },
  );

  it('completes plain text', async () => {
    const openai = client(await running());
    const asked = { model: MODEL, prompt: 'Once', max_tokens: 5, seed: 1, echo: true };
    const { choices } = await openai.completions.create(asked);
    expect(choices[0]?.text.startsWith('Once')).toBe(true);
  });

  it('leaves, and its answer is no longer worked on', async () => {
    const server = await running();
    const stream = await client(server).chat.completions.create({
      ...shared,
      max_tokens: 2000,
      stream: true,
    });
    for await (const chunk of stream) if (chunk.choices[0]?.delta.role === undefined) break;
    await isIdle(server);
    const metrics = await (await server.get('/metrics')).text();
    expect(metrics).toMatch(/flashmoe_generations_total\{reason="cancelled"\} 1\n/);
    const made = Number(/flashmoe_completion_tokens_total (\d+)/.exec(metrics)?.[1]);
    expect(made).toBeLessThan(2000);
    const later = await (await server.get('/metrics')).text();
    expect(later).toContain(`flashmoe_completion_tokens_total ${made}\n`);
  });

  it('is told in its own words that the prompt is too long', async () => {
    const server = await start(() => model.open({ contextLength: 32 }));
    await server.modelSettled;
    const long = [{ role: 'user' as const, content: 'word '.repeat(100) }];
    const asked = client(server).chat.completions.create({ model: MODEL, messages: long });
    await expect(asked).rejects.toMatchObject({ status: 400, code: 'context_length_exceeded' });
  });
});

describe('the @anthropic-ai/sdk package', () => {
  const client = ({ url }: Started) => new Anthropic({ baseURL: url, apiKey: 'x', maxRetries: 0 });
  const shared = {
    model: MODEL,
    max_tokens: 300,
    messages: [{ role: 'user' as const, content: 'Weather in Paris?' }],
  };
  const tools = [{ name: 'weather', input_schema: SCHEMA }];

  it('streams an answer and adds it up', async () => {
    const stream = client(await running()).messages.stream({ ...shared, max_tokens: 12 });
    let text = '';
    stream.on('text', (delta) => (text += delta));
    const final = await stream.finalMessage();
    expect(final.stop_reason).toBe('max_tokens');
    expect(final.usage.output_tokens).toBe(12);
    const said = final.content.flatMap((block) => (block.type === 'text' ? [block.text] : []));
    expect(said.join('')).toBe(text);
  });

  it('has its call, in one piece and streamed, and counts tokens', PATIENCE, async () => {
    const anthropic = client(await running());
    const choice = { type: 'tool' as const, name: 'weather', disable_parallel_tool_use: true };
    const asked = { ...shared, tools, tool_choice: choice };
    for (const message of [
      await anthropic.messages.create(asked),
      await anthropic.messages.stream(asked).finalMessage(),
    ]) {
      expect(message.stop_reason).toBe('tool_use');
      const block = message.content.find((one) => one.type === 'tool_use');
      expectPlace(block?.input);
    }
    const { messages } = shared;
    const { input_tokens } = await anthropic.messages.countTokens({ model: MODEL, messages });
    expect(input_tokens).toBeGreaterThan(5);
  });

  it('leaves, and its answer is no longer worked on', async () => {
    const server = await running();
    const stream = client(server).messages.stream({ ...shared, max_tokens: 2000 });
    stream.once('streamEvent', () => undefined);
    await new Promise<void>((resolve) => stream.once('text', () => resolve()));
    stream.abort();
    await expect(stream.finalMessage()).rejects.toThrow(/abort/i);
    await isIdle(server);
  });
});
