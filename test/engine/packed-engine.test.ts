import { readdir, rm, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ChatRequest, Engine, GenerateEvent } from '../../src/engine/types.js';
import { goldenTokens, packed, type Packed } from './packed.js';

const never = new AbortController().signal;
/** Where the two best logits are nearer than this, another order of summation may choose the other. */
const SAFE_MARGIN = 0.01;

/** Ids from here on name no token in the fixtures. */
const PADDING = 500;

async function collect(events: AsyncIterable<GenerateEvent>): Promise<GenerateEvent[]> {
  const all: GenerateEvent[] = [];
  for await (const event of events) all.push(event);
  return all;
}

function ids(events: GenerateEvent[]): number[] {
  return events.flatMap((event) => (event.type === 'token' ? [event.id] : []));
}

function text(events: GenerateEvent[]): string {
  return events.flatMap((e) => (e.type === 'text' ? [`${e.channel}:${e.text}`] : [])).join('|');
}

describe.each(['qwen3_5_moe', 'qwen3_moe', 'deepseek_v3', 'kimi_k2'])('%s', (family) => {
  it('says the reference’s greedy tokens wherever their margin is safe', async () => {
    const model = await packed(family);
    const engine = await model.open();
    const golden = await goldenTokens(family);
    // The reference chose among padding rows, too, which no tokenizer has a text for.
    const isSafe = golden.greedy_margin.map(
      (margin, i) => margin >= SAFE_MARGIN && (golden.greedy[i] ?? 0) < PADDING,
    );
    let compared = 0;
    // From each unsafe place on, the reference's own token is given, so that all of them are compared.
    for (let from = 0; from < golden.greedy.length;) {
      const next = isSafe.indexOf(false, from);
      const until = next < 0 ? golden.greedy.length : next;
      if (until > from) {
        const tokens = [...golden.input_ids, ...golden.greedy.slice(0, from)];
        const request = { tokens, maxTokens: until - from, sampling: { temperature: 0 } };
        const said = ids(await collect(engine.continueTokens(request, never)));
        expect(said).toEqual(golden.greedy.slice(from, until));
        compared += said.length;
      }
      from = until + 1;
    }
    expect(compared).toBe(isSafe.filter(Boolean).length);
    expect(compared).toBeGreaterThan(20);
    await engine.close();
    await rm(model.dir, { recursive: true });
  });
});

describe('a chat with real weights', () => {
  let model: Packed;
  let engine: Engine;

  beforeAll(async () => {
    model = await packed('qwen3_5_moe');
    engine = await model.open();
  });
  afterAll(async () => {
    await engine.close();
    await rm(model.dir, { recursive: true });
  });

  const request = (rest: Partial<ChatRequest> = {}): ChatRequest => ({
    messages: [
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'Weather in Paris? 日本 🚀' },
    ],
    tools: [],
    thinking: false,
    maxTokens: 24,
    stop: [],
    sampling: { seed: 5 },
    ...rest,
  });
  const fresh = async (asked: ChatRequest): Promise<string> => {
    const other = await model.open();
    const said = text(await collect(other.chat(asked, never)));
    await other.close();
    return said;
  };

  it('is counted, read, timed and told apart by its seed', async () => {
    const events = await collect(engine.chat(request(), never));
    const finish = events.at(-1);
    if (finish?.type !== 'finish') throw new Error('no finish');
    expect(finish.usage.promptTokens).toBe(await engine.countTokens(request()));
    expect(finish.usage.completionTokens).toBeLessThanOrEqual(24);
    expect(finish.timings.prefillSeconds).toBeGreaterThan(0);
    expect(finish.timings.decodeSeconds).toBeGreaterThan(0);
    expect(finish.timings.expertBytesRead).toBeGreaterThan(0);
    expect(text(events)).toBe(await fresh(request()));
    const others = [1, 2, 3].map((seed) => fresh(request({ sampling: { seed } })));
    expect(new Set(await Promise.all(others)).size).toBe(3);
  });

  it('says what a fresh one says after cancels, stops and other conversations', async () => {
    const expected = await fresh(request());
    const cancel = new AbortController();
    const cancelled = async () => {
      for await (const event of engine.chat(request(), cancel.signal)) {
        if (event.type === 'prefill') cancel.abort();
      }
    };
    await expect(cancelled()).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
    expect(text(await collect(engine.chat(request(), never)))).toBe(expected);

    for await (const event of engine.chat(request(), never)) if (event.type === 'text') break;
    expect(text(await collect(engine.chat(request(), never)))).toBe(expected);

    const other = request({ messages: [{ role: 'user', content: 'else' }], maxTokens: 3 });
    await collect(engine.chat(other, never));
    expect(text(await collect(engine.chat(request(), never)))).toBe(expected);
  });

  it('goes on from its state and says what a fresh one says', async () => {
    const first = await collect(
      engine.continueTokens({ tokens: [1, 2, 3, 4], maxTokens: 6, sampling: { seed: 1 } }, never),
    );
    const tokens = [1, 2, 3, 4, ...ids(first), 9, 8, 7];
    const more = { tokens, maxTokens: 8, sampling: { seed: 2 } };
    const after = await collect(engine.continueTokens(more, never));
    expect(after.at(-1)).toMatchObject({ usage: { cachedTokens: 9, promptTokens: 13 } });
    const other = await model.open();
    expect(ids(after)).toEqual(ids(await collect(other.continueTokens(more, never))));
    await other.close();
  });

  it('never says a padding row, however hot', async () => {
    const asked = { tokens: [1], maxTokens: 200, sampling: { temperature: 2, topK: 0, topP: 1 } };
    const said = ids(await collect(engine.continueTokens(asked, never)));
    expect(said).toHaveLength(200);
    expect(Math.max(...said)).toBeLessThan(PADDING);
  });

  it('has the context it was opened with', async () => {
    const small = await model.open({ contextLength: 48 });
    expect(small.model.contextLength).toBe(48);
    const asked = request({ maxTokens: null, sampling: { seed: 1 } });
    await expect(small.countTokens(asked)).rejects.toMatchObject({ code: 'ERR_CONTEXT' });
    await small.close();
  });

  it('is refused, naming the file, when a layer file is short', async () => {
    const damaged = await packed('qwen3_5_moe');
    const experts = join(damaged.dir, 'model', 'packed_experts');
    const layer = (await readdir(experts)).filter((name) => name.endsWith('.bin')).sort()[1] ?? '';
    await truncate(join(experts, layer), 1000);
    await expect(damaged.open()).rejects.toMatchObject({
      code: 'ERR_MODEL_DAMAGED',
      message: expect.stringContaining(layer) as string,
    });
    await rm(damaged.dir, { recursive: true });
  });
});
