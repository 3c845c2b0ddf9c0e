// What a client sees of a prompt that was read before, with the bundled model: how much of it was known, and that the
// answer is the same. More of that is in cases.test.ts.

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
    answer?.usage.cache_read_input_tokens ??
    -1;

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
});

interface Answer {
  choices?: unknown[];
  usage: {
    prompt_tokens_details?: { cached_tokens: number };
    cache_read_input_tokens?: number;
  };
}
