// The ai package with each of its providers that people point at a server like this one, unmodified, against a real
// server with the bundled model.

import { rm } from 'node:fs/promises';
import { createAnthropic } from '@ai-sdk/anthropic';
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import {
  generateText,
  jsonSchema,
  Output,
  stepCountIs,
  streamText,
  tool,
  type LanguageModel,
} from 'ai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packed, type Packed } from '../engine/packed.js';
import { start, type Started } from './running.js';

const MODEL = 'org/tiny';
interface Place {
  city: string;
  days: number;
}
const PLACE = jsonSchema<Place>({
  type: 'object',
  properties: {
    city: { enum: ['Paris', 'Rome'] },
    days: { type: 'integer', minimum: 1, maximum: 9 },
  },
  required: ['city', 'days'],
  additionalProperties: false,
});
const expectPlace = ({ city, days }: Place): void => {
  expect(['Paris', 'Rome']).toContain(city);
  expect(days).toBeGreaterThanOrEqual(1);
  expect(days).toBeLessThanOrEqual(9);
};

let model: Packed;
beforeAll(async () => {
  globalThis.AI_SDK_LOG_WARNINGS = false;
  model = await packed('tiny');
});
afterAll(() => rm(model.dir, { recursive: true }));

async function running(): Promise<Started> {
  const server = await start(() => model.open());
  await server.modelSettled;
  return server;
}

type ProviderOptions = NonNullable<Parameters<typeof generateText>[0]['providerOptions']>;

/** Bodies that a client sent, in order. */
type Sent = { path: string; body: Record<string, unknown> }[];

/** `fetch`, which writes down what goes by. */
function listening(sent: Sent): typeof fetch {
  return (input, init) => {
    if (typeof init?.body === 'string') {
      const path = new URL(input instanceof Request ? input.url : input).pathname;
      sent.push({ path, body: JSON.parse(init.body) as Record<string, unknown> });
    }
    return fetch(input, init);
  };
}

const PROVIDERS: {
  name: string;
  path: string;
  of: (server: Started, sent: Sent) => LanguageModel;
  /** Without a thought. */
  quiet: ProviderOptions;
}[] = [
  {
    name: '@ai-sdk/openai as it comes',
    path: '/v1/responses',
    of: ({ url }, sent) =>
      createOpenAI({ baseURL: `${url}/v1`, apiKey: 'x', fetch: listening(sent) })(MODEL),
    quiet: { openai: { reasoningEffort: 'none' } },
  },
  {
    name: '@ai-sdk/openai with chat completions',
    path: '/v1/chat/completions',
    of: ({ url }, sent) =>
      createOpenAI({ baseURL: `${url}/v1`, apiKey: 'x', fetch: listening(sent) }).chat(MODEL),
    quiet: { openai: { reasoningEffort: 'none' } },
  },
  {
    name: '@ai-sdk/anthropic',
    path: '/v1/messages',
    of: ({ url }, sent) =>
      createAnthropic({ baseURL: `${url}/v1`, apiKey: 'x', fetch: listening(sent) })(MODEL),
    quiet: { anthropic: { thinking: { type: 'disabled' } } },
  },
  {
    name: '@ai-sdk/openai-compatible',
    path: '/v1/chat/completions',
    of: ({ url }, sent) =>
      createOpenAICompatible({
        name: 'flashmoe',
        baseURL: `${url}/v1`,
        includeUsage: true,
        supportsStructuredOutputs: true,
        fetch: listening(sent),
      })(MODEL),
    quiet: { flashmoe: { reasoningEffort: 'none' } },
  },
];

describe.each(PROVIDERS)('the ai package with $name', ({ path, of, quiet }) => {
  const prompt = 'Weather in Paris?';
  const shared = { providerOptions: quiet, maxOutputTokens: 200, maxRetries: 0 };

  it('streams text with a reason and usage', async () => {
    const sent: Sent = [];
    const asked = { model: of(await running(), sent), prompt: 'Count.', ...shared };
    const result = streamText({ ...asked, maxOutputTokens: 6 });
    let text = '';
    for await (const delta of result.textStream) text += delta;
    expect(text).not.toBe('');
    expect(await result.text).toBe(text);
    expect(['length', 'stop']).toContain(await result.finishReason);
    const { inputTokens, outputTokens } = await result.usage;
    expect(inputTokens).toBeGreaterThan(0);
    expect(outputTokens).toBeGreaterThan(0);
    expect(outputTokens).toBeLessThanOrEqual(6);
    expect(sent.map((one) => one.path)).toEqual([path]);
  });

  it('runs a tool, and goes on from its result in a second step', async () => {
    const sent: Sent = [];
    const inputs: Place[] = [];
    const weather = tool({
      description: 'Tells the weather.',
      inputSchema: PLACE,
      execute: (input) => {
        inputs.push(input);
        return { sky: 'clear', degrees: 21 };
      },
    });
    const result = await generateText({
      model: of(await running(), sent),
      prompt,
      ...shared,
      tools: { weather },
      stopWhen: stepCountIs(2),
      prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber === 0 ? 'required' : 'none' }),
    });
    expect(inputs.length).toBeGreaterThan(0);
    inputs.forEach(expectPlace);
    expect(result.steps).toHaveLength(2);
    expect(result.steps[0]?.finishReason).toBe('tool-calls');
    expect(result.steps[1]?.toolCalls).toEqual([]);
    expect(JSON.stringify(sent[1]?.body)).toContain('degrees');
    if (path === '/v1/responses') {
      expect(JSON.stringify(sent[1]?.body)).toContain('item_reference');
    }
  });

  it('streams a call whose pieces add up to its input', async () => {
    const tools = { weather: tool({ inputSchema: PLACE, execute: () => 'clear' }) };
    const asked = { model: of(await running(), []), prompt, ...shared, tools };
    const result = streamText({ ...asked, toolChoice: { type: 'tool', toolName: 'weather' } });
    let pieces = '';
    let input: unknown = null;
    for await (const part of result.fullStream) {
      if (part.type === 'error') throw part.error;
      if (part.type === 'tool-input-delta' && input === null) pieces += part.delta;
      if (part.type === 'tool-call') input ??= part.input;
    }
    expectPlace(input as Place);
    expect(JSON.parse(pieces)).toEqual(input);
  });

  it('has an object of a schema', async () => {
    const { output } = await generateText({
      model: of(await running(), []),
      prompt,
      ...shared,
      output: Output.object({ schema: PLACE }),
    });
    expectPlace(output);
  });

  it('aborts, and its answer is no longer worked on', async () => {
    const server = await running();
    const left = new AbortController();
    const asked = { model: of(server, []), prompt: 'Count.', ...shared, maxOutputTokens: 1500 };
    const result = streamText({ ...asked, temperature: 2, abortSignal: left.signal });
    for await (const part of result.fullStream) {
      if (part.type === 'text-delta') left.abort();
    }
    await expect
      .poll(async () => ((await (await server.get('/health')).json()) as { queue: number }).queue)
      .toBe(0);
    const metrics = await (await server.get('/metrics')).text();
    expect(metrics).toMatch(/flashmoe_generations_total\{reason="cancelled"\} 1\n/);
  });
});
