// Which model is in memory: by name, in order, and no longer than anybody needs it.

import { describe, expect, it } from 'vitest';
import { MemoryEngine, finish, Gate, said } from './memory-engine.js';
import { start } from './running.js';

/** A home with two models, and what was loaded and let go, in order. */
function home() {
  const log: string[] = [];
  const engines = new Map<string, MemoryEngine>();
  const gate = new Gate();
  const load = (_: AbortSignal, id: string | null): Promise<MemoryEngine> => {
    const name = id ?? '';
    log.push(`load ${name}`);
    const engine = new MemoryEngine(async function* (request) {
      if (request.maxTokens === 9) await gate.opened;
      yield said(`from ${name}`);
      yield finish();
    });
    Object.assign(engine.model, { id: name });
    const close = engine.close.bind(engine);
    engine.close = () => {
      log.push(`close ${name}`);
      return close();
    };
    engines.set(name, engine);
    return Promise.resolve(engine);
  };
  const model = (id: string) => ({ id, quant: '4bit', bytes: 1000, since: 0 });
  return {
    log,
    gate,
    options: {
      modelId: 'large',
      load,
      installed: () => Promise.resolve([model('large'), model('small')]),
    },
  };
}

const never = () => Promise.reject(new Error('not used'));
const ask = (model: string, more: object = {}) => ({
  model,
  messages: [{ role: 'user', content: 'x' }],
  ...more,
});
async function said_(response: Response): Promise<string | undefined> {
  const body = (await response.json()) as { choices?: { message: { content: string } }[] };
  return body.choices?.[0]?.message.content;
}

describe('a server with several models', () => {
  it('loads the one that is named, and takes any other name for the default', async () => {
    const { log, options } = home();
    const { post, get } = await start(never, options);
    expect(await said_(await post(ask('claude-sonnet-4')))).toBe('from large');
    expect(await said_(await post(ask('small')))).toBe('from small');
    expect(await said_(await post(ask('Small:latest')))).toBe('from small');
    const list = (await (await get('/v1/models')).json()) as {
      data: { id: string; loaded: boolean; context_length: number | null }[];
    };
    expect(list.data.map(({ id, loaded }) => [id, loaded])).toEqual([
      ['large', false],
      ['small', true],
    ]);
    // What fits is still known of one that has gone.
    expect(list.data.map((one) => one.context_length)).toEqual([1000, 1000]);
    expect(await said_(await post(ask('gpt-5')))).toBe('from large');
    expect(log).toEqual(['load large', 'close large', 'load small', 'close small', 'load large']);
  });

  it('lets running answers end before another model comes, and keeps the order', async () => {
    const { log, gate, options } = home();
    const { post } = await start(never, options);
    const first = post(ask('large', { max_tokens: 9 }));
    await expect.poll(() => log).toEqual(['load large']);
    const order: string[] = [];
    const second = post(ask('small')).then(async (response) =>
      order.push((await said_(response)) ?? ''),
    );
    const third = post(ask('large')).then(async (response) =>
      order.push((await said_(response)) ?? ''),
    );
    gate.open();
    expect(await said_(await first)).toBe('from large');
    await Promise.all([second, third]);
    expect(order).toEqual(['from small', 'from large']);
    expect(log).toEqual(['load large', 'close large', 'load small', 'close small', 'load large']);
  });

  it('lets a model go that nobody asks for, is well all the same, and loads it again', async () => {
    const { log, options } = home();
    const { post, get, events } = await start(never, { ...options, unloadAfterMs: 50 });
    expect(await said_(await post(ask('large')))).toBe('from large');
    await expect.poll(() => log.at(-1)).toBe('close large');
    expect(events).toContainEqual(expect.objectContaining({ type: 'model', status: 'unloaded' }));
    const health = await get('/health');
    expect(health.status).toBe(200);
    expect(await health.json()).toMatchObject({ status: 'ok', loaded: false });
    expect(await (await get('/status')).json()).toMatchObject({ state: 'idle' });
    expect(await said_(await post(ask('large')))).toBe('from large');
  });

  it('keeps nothing in memory where that is asked for', async () => {
    const { log, options } = home();
    const { post } = await start(never, { ...options, unloadAfterMs: 0 });
    expect(log).toEqual([]);
    expect(await said_(await post(ask('small')))).toBe('from small');
    await expect.poll(() => log).toEqual(['load small', 'close small']);
  });
});
