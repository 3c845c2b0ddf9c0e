// The whole way: HTTP, template, tokenizer, native engine and back, with a fixture's real weights.

import { readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packed, type Packed } from '../engine/packed.js';
import { errorOf, readEvents, start } from './running.js';

interface Answer {
  choices: { message: { content: string; reasoning_content?: string }; finish_reason: string }[];
  usage: { prompt_tokens: number; completion_tokens: number };
}

const HELLO = {
  messages: [{ role: 'user', content: 'Weather in Paris?' }],
  max_tokens: 24,
  seed: 3,
  enable_thinking: false,
};

describe('a server with a packed model', () => {
  let model: Packed;

  beforeAll(async () => {
    model = await packed('qwen3_5_moe');
  });
  afterAll(() => rm(model.dir, { recursive: true }));

  it('answers in one piece and in a stream with the same words', async () => {
    const { post, get, modelSettled } = await start(() => model.open());
    await modelSettled;
    expect(await (await get('/v1/models')).json()).toMatchObject({
      data: [{ id: 'org/qwen3_5_moe' }],
    });
    const whole = (await (await post(HELLO)).json()) as Answer;
    const said = whole.choices[0]?.message;
    expect(said?.content.length).toBeGreaterThan(10);
    expect(whole.usage.prompt_tokens).toBeGreaterThan(10);
    expect(whole.usage.completion_tokens).toBeGreaterThan(10);

    const { data } = await readEvents(
      await post({ ...HELLO, stream: true, stream_options: { include_usage: true } }),
    );
    expect(data.pop()).toBe('[DONE]');
    const chunks = data as {
      choices: { delta: { content?: string | null } }[];
      usage?: Answer['usage'];
    }[];
    const streamed = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('');
    expect(streamed).toBe(said?.content);
    expect(chunks.at(-1)?.usage?.completion_tokens).toBe(whole.usage.completion_tokens);
  });

  it('uses fewer experts where it is told to, and says how many: serve-experts', async () => {
    const { post, get, modelSettled } = await start(() => model.open({ expertsPerToken: 1 }));
    await modelSettled;
    expect((await post(HELLO)).status).toBe(200);
    expect(await (await get('/status')).json()).toMatchObject({ model: { expertsPerToken: 1 } });
  });

  it('refuses a prompt longer than its context before any work', async () => {
    const { post, modelSettled } = await start(() => model.open({ contextLength: 64 }));
    await modelSettled;
    const messages = [{ role: 'user', content: 'word '.repeat(100) }];
    const response = await post({ messages, stream: true });
    expect(response.status).toBe(400);
    expect(await errorOf(response)).toMatchObject({ type: 'exceed_context_size_error', n_ctx: 64 });
  });

  it('says which file failed when a read falls short, and answers again when it is whole', async () => {
    const { post, modelSettled } = await start(() => model.open());
    await modelSettled;
    const before = (await (await post(HELLO)).json()) as Answer;
    const experts = join(model.dir, 'model', 'packed_experts');
    const layers = (await readdir(experts)).filter((name) => name.endsWith('.bin'));
    const path = join(experts, layers[0] ?? '');
    const bytes = await readFile(path);
    await truncate(path, 0);
    const failed = await post(HELLO);
    expect(failed.status).toBe(500);
    expect(await errorOf(failed)).toMatchObject({
      type: 'server_error',
      code: 'ERR_IO',
      message: expect.stringContaining(layers[0] ?? '') as string,
    });
    await writeFile(path, bytes);
    const after = (await (await post(HELLO)).json()) as Answer;
    expect(after.choices).toEqual(before.choices);
  });

  it('says which file is damaged when it cannot open its model', async () => {
    const experts = join(model.dir, 'nowhere');
    const { post, get, modelSettled } = await start(() => model.open({ expertsDir: experts }));
    await modelSettled;
    for (const response of [await post(HELLO), await get('/health')]) {
      expect(response.status).toBe(503);
      expect(await errorOf(response)).toMatchObject({
        code: 'ERR_MODEL_DAMAGED',
        message: expect.stringContaining('layout.json') as string,
      });
    }
  });
});
