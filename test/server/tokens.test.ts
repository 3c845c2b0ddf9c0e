import { rm } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packed, type Packed } from '../engine/packed.js';
import { finish, MemoryEngine, says } from './memory-engine.js';
import { errorOf, start, type Started } from './running.js';

let model: Packed;
beforeAll(async () => {
  model = await packed('qwen3_5_moe');
});
afterAll(() => rm(model.dir, { recursive: true }));

async function running(): Promise<Started> {
  const server = await start(() => model.open());
  await server.modelSettled;
  return server;
}

const post = async ({ get }: Started, path: string, body: object): Promise<Response> =>
  await get(path, { method: 'POST', body: JSON.stringify(body) });

describe('text and tokens', () => {
  it('become each other, control tokens only by their ids', async () => {
    const server = await running();
    const content = 'naïve <|im_end|> 🦙';
    const { tokens } = (await (await post(server, '/tokenize', { content })).json()) as {
      tokens: number[];
    };
    expect(tokens.length).toBeGreaterThan(3);
    const back = await post(server, '/detokenize', { tokens });
    expect(await back.json()).toEqual({ content });
    const pieces = await post(server, '/tokenize', { content: 'a b', with_pieces: true });
    const told = ((await pieces.json()) as { tokens: { id: number; piece: string }[] }).tokens;
    expect(told.map(({ piece }) => piece).join('')).toBe('a b');
  });

  it('that are none are refused by name', async () => {
    const server = await running();
    const response = await post(server, '/detokenize', { tokens: [1, 10_000_000] });
    expect(response.status).toBe(400);
    expect(await errorOf(response)).toMatchObject({
      param: 'tokens',
      message: expect.stringMatching(/10000000/) as string,
    });
  });

  it('are shown as the model reads a conversation', async () => {
    const server = await running();
    const messages = [{ role: 'user', content: 'hello' }];
    const asked = { messages, chat_template_kwargs: { enable_thinking: false } };
    const body = (await (await post(server, '/apply-template', asked)).json()) as {
      prompt: string;
      n_tokens: number;
    };
    expect(body.prompt).toMatch(/<\|im_start\|>user\nhello<\|im_end\|>/);
    expect(body.prompt).toMatch(/<think>\n\n<\/think>\n\n$/);
    const counted = await post(server, '/v1/messages/count_tokens', { messages });
    expect(body.n_tokens).toBe(((await counted.json()) as { input_tokens: number }).input_tokens);
  });
});

it('tells what it has loaded, and that it has no embeddings', async () => {
  const server = await start(new MemoryEngine(says(finish())));
  expect(await (await server.get('/props')).json()).toMatchObject({
    default_generation_settings: { n_ctx: 1000 },
    total_slots: 1,
    model_alias: 'org/test-model',
  });
  const response = await post(server, '/v1/embeddings', { input: 'x' });
  expect(response.status).toBe(501);
  expect(await errorOf(response)).toMatchObject({ code: 'embeddings_not_supported' });
});
