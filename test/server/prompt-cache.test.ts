// What a client sees of a prompt that was read before, with the bundled model: how much of it was known, and that the
// answer is the same.

import { rm } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { packed, type Packed } from '../engine/packed.js';
import { start, type Started } from './running.js';

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const codes = (count: number): string =>
  Array.from({ length: count }, (_, i) => `The code of item ${i} is ${(i * 7) % 97}.`).join(' ');
const user = (content: string) => ({ role: 'user', content });
const said = (content: string) => ({ role: 'assistant', content });

describe('a server that has read a prompt like this one', () => {
  let model: Packed;
  beforeAll(async () => {
    model = await packed('tiny');
  });
  afterAll(() => rm(model.dir, { recursive: true }));

  const serving = async (): Promise<Started> => {
    const server = await start(() => model.open({ contextLength: 8192 }));
    await server.modelSettled;
    return server;
  };
  /** Answers to bodies, one after the other. */
  const asked = async (path: string, bodies: object[]): Promise<Answer[]> => {
    const server = await serving();
    const answers: Answer[] = [];
    for (const body of bodies) {
      const response = await server.get(path, { method: 'POST', body: JSON.stringify(body) });
      expect(response.status).toBe(200);
      answers.push((await response.json()) as Answer);
    }
    return answers;
  };
  const chats = (...conversations: object[][]) =>
    asked(
      '/v1/chat/completions',
      conversations.map((messages) => ({ messages, temperature: 0, max_tokens: 8 })),
    );
  const cachedOf = (answer: Answer | undefined): number =>
    answer?.usage.prompt_tokens_details?.cached_tokens ??
    answer?.usage.input_tokens_details?.cached_tokens ??
    answer?.usage.cache_read_input_tokens ??
    -1;

  it('knows all before a word of the system in the middle, which stands where it was sent', async () => {
    const first = [
      { role: 'system', content: codes(60) },
      user('What is 12+30?'),
      said('42'),
      user('What is 10+10?'),
    ];
    const nudge = { role: 'system', content: 'Reminder: be brief.' };
    const second = [...first, said('20'), nudge, user('What is 11+11?')];
    const [, answer] = await chats(first, second);
    expect(cachedOf(answer)).toBeGreaterThanOrEqual(840);
    const server = await serving();
    const shown = await server.get('/apply-template', {
      method: 'POST',
      body: JSON.stringify({ messages: second }),
    });
    const { prompt } = (await shown.json()) as { prompt: string };
    expect(prompt.indexOf('Reminder')).toBeGreaterThan(prompt.indexOf('10+10'));
    expect(prompt.indexOf('Reminder')).toBeLessThan(prompt.indexOf('11+11'));
  });

  it('knows what stands before a counter at the end of the system text, and answers the same', async () => {
    const counted = (left: number) => [
      { role: 'system', content: `${codes(60)}\n<total_tokens>${left} tokens left</total_tokens>` },
      user('What is 12+30?'),
    ];
    const [, answer] = await chats(counted(14999436), counted(14998000));
    expect(cachedOf(answer)).toBeGreaterThanOrEqual(700);
    const [cold] = await chats(counted(14998000));
    expect(answer?.choices).toEqual(cold?.choices);
  });

  it('knows a document under which another question stands', async () => {
    const question = (item: number) => [user(`${codes(200)}\nWhat is the code of item ${item}?`)];
    const [, answer] = await chats(question(3), question(4));
    expect(cachedOf(answer)).toBeGreaterThanOrEqual(2000);
  });

  it('knows all before what a developer says in the middle (responses)', async () => {
    const input = [user('What is 1+1?'), said('2'), user('What is 2+2?')];
    const late = { role: 'developer', content: '<permissions>now read-only</permissions>' };
    const body = { max_output_tokens: 16, instructions: codes(60) };
    const [, answer] = await asked('/v1/responses', [
      { ...body, input },
      { ...body, input: [...input, said('4'), late, user('What is 4+4?')] },
    ]);
    expect(cachedOf(answer)).toBeGreaterThanOrEqual(850);
  });

  it('knows all before what the system says in the middle (messages)', async () => {
    const messages = [user('What is 1+1?'), said('2'), user('What is 2+2?')];
    const late = { role: 'system', content: 'Plan mode is on.' };
    const body = { max_tokens: 16, system: codes(60) };
    const [, answer] = await asked('/v1/messages', [
      { ...body, messages },
      { ...body, messages: [...messages, said('4'), late, user('What is 4+4?')] },
    ]);
    expect(cachedOf(answer)).toBeGreaterThanOrEqual(850);
  });

  it('takes a tool result without content as an empty one, and goes on with what the assistant began', async () => {
    const call = { id: 'a', type: 'function', function: { name: 'w', arguments: '{}' } };
    await chats([
      user('weather?'),
      { role: 'assistant', content: null, tool_calls: [call] },
      { role: 'tool', tool_call_id: 'a', content: null },
    ]);
    const server = await serving();
    const body = { messages: [user('What is 12+30?'), said('The answer')], enable_thinking: false };
    const shown = await server.get('/apply-template', {
      method: 'POST',
      body: JSON.stringify(body),
    });
    const { prompt } = (await shown.json()) as { prompt: string };
    expect(prompt.endsWith('The answer')).toBe(true);
  });
});

interface Answer {
  choices?: unknown[];
  usage: {
    prompt_tokens_details?: { cached_tokens: number };
    input_tokens_details?: { cached_tokens: number };
    cache_read_input_tokens?: number;
  };
}
