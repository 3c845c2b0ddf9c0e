// Frameworks that run agents, unmodified, against a real server with the bundled model: the tools are run by them, and
// what they send in the second turn is theirs.

import { rm } from 'node:fs/promises';
import { ChatAnthropic } from '@langchain/anthropic';
import { HumanMessage, ToolMessage, type AIMessageChunk } from '@langchain/core/messages';
import { tool as langchainTool } from '@langchain/core/tools';
import { ChatOpenAI } from '@langchain/openai';
import {
  Agent,
  OpenAIChatCompletionsModel,
  OpenAIResponsesModel,
  Runner,
  setTracingDisabled,
  tool,
} from '@openai/agents';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import * as z from 'zod';
import { packed, type Packed } from '../engine/packed.js';
import { start, type Started } from './running.js';

const MODEL = 'org/tiny';
const PLACE = z.object({ city: z.enum(['Paris', 'Rome']), days: z.number().int().min(1).max(9) });
const QUESTION = 'Weather in Paris?';

let model: Packed;
beforeAll(async () => {
  setTracingDisabled(true);
  model = await packed('tiny');
});
afterAll(() => rm(model.dir, { recursive: true }));

async function running(): Promise<Started> {
  const server = await start(() => model.open());
  await server.modelSettled;
  return server;
}

interface Usage {
  input_tokens: number;
  output_tokens: number;
}
const usageOf = (message: unknown): Usage => (message as { usage_metadata: Usage }).usage_metadata;

const isIdle = async ({ get }: Started): Promise<void> => {
  await expect
    .poll(async () => ((await (await get('/health')).json()) as { queue: number }).queue)
    .toBe(0);
};

describe.each([
  ['chat completions', OpenAIChatCompletionsModel],
  ['responses', OpenAIResponsesModel],
])('@openai/agents with %s', (_, Model) => {
  const modelOf = ({ url }: Started) =>
    new Model(new OpenAI({ baseURL: `${url}/v1`, apiKey: 'x', maxRetries: 0 }), MODEL);
  const modelSettings = { maxTokens: 200, reasoning: { effort: 'none' as const } };

  it('runs its tool and has a last answer behind it', async () => {
    const inputs: unknown[] = [];
    const weather = tool({
      name: 'weather',
      description: 'Tells the weather.',
      parameters: PLACE,
      execute: (input) => {
        inputs.push(input);
        return 'clear, 21 degrees';
      },
    });
    const agent = new Agent({
      name: 'Forecaster',
      instructions: 'You tell the weather.',
      model: modelOf(await running()),
      tools: [weather],
      modelSettings: { ...modelSettings, toolChoice: 'required', parallelToolCalls: false },
    });
    // It asks again without a required tool, once one was run.
    const result = await new Runner().run(agent, QUESTION, { maxTurns: 4 });
    expect(inputs.length).toBeGreaterThan(0);
    for (const input of inputs) PLACE.parse(input);
    expect(result.history.some(({ type }) => type === 'function_call_result')).toBe(true);
    expect(result.rawResponses.every(({ usage }) => usage.inputTokens > 0)).toBe(true);
  });

  it('has a last answer of its type, streamed', async () => {
    const agent = new Agent({
      name: 'Planner',
      model: modelOf(await running()),
      outputType: PLACE,
      modelSettings,
    });
    const result = await new Runner().run(agent, QUESTION, { stream: true });
    let text = '';
    for await (const part of result.toTextStream()) text += part;
    await result.completed;
    PLACE.parse(result.finalOutput);
    expect(JSON.parse(text)).toEqual(result.finalOutput);
  });

  it('aborts, and its answer is no longer worked on', async () => {
    const server = await running();
    const left = new AbortController();
    const agent = new Agent({
      name: 'Talker',
      model: modelOf(server),
      modelSettings: { ...modelSettings, maxTokens: 1500, temperature: 2 },
    });
    const { signal } = left;
    const result = await new Runner().run(agent, 'Count.', { stream: true, signal });
    for await (const part of result.toTextStream()) {
      if (part !== '') left.abort();
    }
    await isIdle(server);
    const metrics = await (await server.get('/metrics')).text();
    expect(metrics).toMatch(/flashmoe_generations_total\{reason="cancelled"\} 1\n/);
  });
});

describe.each([
  {
    name: 'ChatOpenAI',
    of: ({ url }: Started, maxTokens = 200) =>
      new ChatOpenAI({
        model: MODEL,
        apiKey: 'x',
        configuration: { baseURL: `${url}/v1` },
        maxRetries: 0,
        maxTokens,
        modelKwargs: { reasoning_effort: 'none' },
      }),
  },
  {
    name: 'ChatOpenAI with responses',
    of: ({ url }: Started, maxTokens = 200) =>
      new ChatOpenAI({
        model: MODEL,
        apiKey: 'x',
        configuration: { baseURL: `${url}/v1` },
        maxRetries: 0,
        maxTokens,
        useResponsesApi: true,
        modelKwargs: { reasoning: { effort: 'none' } },
      }),
  },
  {
    name: 'ChatAnthropic',
    of: ({ url }: Started, maxTokens = 200) =>
      new ChatAnthropic({
        model: MODEL,
        apiKey: 'x',
        anthropicApiUrl: url,
        maxRetries: 0,
        maxTokens,
        temperature: 1,
      }),
  },
])('LangChain with $name', ({ of }) => {
  const weather = langchainTool(() => 'clear, 21 degrees', {
    name: 'weather',
    description: 'Tells the weather.',
    schema: PLACE,
  });

  it('streams an answer and adds it up', async () => {
    const chat = of(await running(), 6);
    let all: AIMessageChunk | undefined;
    for await (const chunk of await chat.stream('Count.')) {
      all = all === undefined ? chunk : all.concat(chunk);
    }
    expect(all?.text).not.toBe('');
    expect(usageOf(all).input_tokens).toBeGreaterThan(0);
    expect(usageOf(all).output_tokens).toBeLessThanOrEqual(6);
  });

  it('has a call made, and an answer behind its result', async () => {
    const chat = of(await running());
    const question = new HumanMessage(QUESTION);
    const asked = await chat.bindTools([weather], { tool_choice: 'weather' }).invoke([question]);
    const [call] = asked.tool_calls ?? [];
    if (call === undefined) throw new Error('no call');
    expect(call.name).toBe('weather');
    PLACE.parse(call.args);
    const results = await Promise.all(
      (asked.tool_calls ?? []).map((one) => weather.invoke({ ...one, type: 'tool_call' })),
    );
    expect(results[0]).toBeInstanceOf(ToolMessage);
    const answer = await chat.bindTools([weather]).invoke([question, asked, ...results]);
    expect(usageOf(answer).input_tokens).toBeGreaterThan(usageOf(asked).input_tokens);
  });

  it('has an object of a schema', async () => {
    const chat = of(await running());
    PLACE.parse(await chat.withStructuredOutput(PLACE).invoke(QUESTION));
  });

  it('aborts, and its answer is no longer worked on', async () => {
    const server = await running();
    const left = new AbortController();
    const stream = await of(server, 1500).stream('Count.', { signal: left.signal });
    await expect(
      (async () => {
        for await (const chunk of stream) if (chunk.text !== '') left.abort();
      })(),
    ).rejects.toThrow(/abort/i);
    await isIdle(server);
  });
});
