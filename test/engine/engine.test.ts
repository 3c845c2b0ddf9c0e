import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { NativeAddon } from '../../src/addon/types.js';
import { FlashmoeError } from '../../src/base/errors.js';
import { openEngine } from '../../src/engine/open-engine.js';
import { loadTokenizer } from '../../src/engine/tokenizer.js';
import type { Tokenizer } from '../../src/engine/tokenizer-types.js';
import type { ChatRequest, Engine, GenerateEvent } from '../../src/engine/types.js';
import { FakeSession, fakeAddon, type NextToken } from './fake-addon.js';
import { fixture } from './fixtures.js';

let dir = '';
let tokenizer: Tokenizer;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'engine-'));
  const names = ['tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja', 'config.json'];
  for (const name of [...names, 'generation_config.json']) {
    await cp(join(fixture('qwen3_5_moe'), name), join(dir, name));
  }
  const source = { repo: 'org/model', revision: 'r' };
  await writeFile(join(dir, 'model_weights.json'), JSON.stringify({ format: 'flashmoe-dense' }));
  await writeFile(
    join(dir, 'layout.json'),
    JSON.stringify({ format: 'flashmoe-experts', quant: '4bit', source }),
  );
  tokenizer = await loadTokenizer(dir);
});
afterAll(() => rm(dir, { recursive: true }));

interface Opened {
  engine: Engine;
  session: FakeSession;
  addon: ReturnType<typeof fakeAddon>;
}

async function open(next: NextToken = () => undefined, contextLength?: number): Promise<Opened> {
  const session = new FakeSession(next);
  const addon = fakeAddon(session);
  const engine = await openEngine({
    addon: addon as unknown as NativeAddon,
    id: 'm',
    modelDir: dir,
    expertsDir: dir,
    threads: 1,
    ioThreads: 1,
    ...(contextLength === undefined ? {} : { contextLength }),
  });
  return { engine, session, addon };
}

/** Says this text after any prompt, then ends its turn. */
function saying(text: string): NextToken {
  // Control tokens are said as such, as a model would.
  const ids: number[] = [];
  for (const part of text.split(/(<\/?(?:think|tool_call)>)/)) {
    const control = tokenizer.controlTokens.find((token) => token.content === part);
    ids.push(...(control === undefined ? tokenizer.encodeText(part) : [control.id]));
  }
  let start = -1;
  let last: readonly number[] = [];
  return (state) => {
    if (state.length !== last.length + 1 || start < 0) start = state.length;
    last = [...state];
    return ids[state.length - start] ?? 497;
  };
}

const request = (content: string, rest: Partial<ChatRequest> = {}): ChatRequest => ({
  messages: [{ role: 'user', content }],
  tools: [],
  thinking: false,
  maxTokens: 20,
  stop: [],
  sampling: { temperature: 0 },
  ...rest,
});

const never = new AbortController().signal;

async function collect(events: AsyncIterable<GenerateEvent>): Promise<GenerateEvent[]> {
  const all: GenerateEvent[] = [];
  for await (const event of events) all.push(event);
  return all;
}

function argumentsOf(events: GenerateEvent[], index: number): unknown {
  const pieces = events.flatMap((e) =>
    e.type === 'tool-arguments' && e.index === index ? [e.json] : [],
  );
  return JSON.parse(pieces.join(''));
}

function summary(events: GenerateEvent[]) {
  const finish = events.at(-1);
  if (finish?.type !== 'finish') throw new Error('no finish');
  const text = (channel: string) =>
    events.flatMap((e) => (e.type === 'text' && e.channel === channel ? [e.text] : [])).join('');
  return {
    content: text('content'),
    reasoning: text('reasoning'),
    calls: events.flatMap((e) =>
      e.type === 'tool-call'
        ? [{ id: e.id, name: e.name, arguments: argumentsOf(events, e.index) }]
        : [],
    ),
    reason: finish.reason,
    stopSequence: finish.stopSequence,
    usage: finish.usage,
    timings: finish.timings,
  };
}

const answer = async (engine: Engine, asked: ChatRequest) =>
  summary(await collect(engine.chat(asked, never)));

describe('an answer', () => {
  it('ends with the model’s end of turn, and counts what it took', async () => {
    const { engine, session } = await open(saying('Hi there'));
    const asked = request('q');
    const prompt = await engine.countTokens(asked);
    const events = await collect(engine.chat(asked, never));
    expect(events.filter((event) => event.type === 'prefill')).toEqual([
      { type: 'prefill', done: 0, total: prompt },
      { type: 'prefill', done: 1, total: prompt },
    ]);
    const made = tokenizer.encodeText('Hi there').length + 1;
    expect(summary(events)).toEqual({
      content: 'Hi there',
      reasoning: '',
      calls: [],
      reason: 'stop',
      stopSequence: null,
      usage: { promptTokens: prompt, cachedTokens: 0, completionTokens: made, reasoningTokens: 0 },
      timings: {
        prefillSeconds: 1,
        decodeSeconds: 0.25 * (made - 1),
        expertBytesRead: 100 * (prompt + made - 1),
        experts: expect.objectContaining({ uses: expect.any(Number) as number }) as object,
      },
    });
    expect(session.state).toHaveLength(prompt + made - 1);
  });

  it('has its thinking apart from its content', async () => {
    const { engine } = await open(saying('so\n</think>\n\nyes'));
    const { reasoning, content, usage } = await answer(engine, request('q', { thinking: true }));
    expect({ reasoning, content }).toEqual({ reasoning: 'so', content: 'yes' });
    expect(usage.reasoningTokens).toBe(tokenizer.encodeText('so\n').length + 1);
  });

  it('ends at a stop string, which is not in it', async () => {
    const { engine } = await open(saying('one two three'));
    const { content, reason, stopSequence } = await answer(engine, request('q', { stop: [' tw'] }));
    expect({ content, reason, stopSequence }).toEqual({
      content: 'one',
      reason: 'stop',
      stopSequence: ' tw',
    });
  });

  it('ends at its limit, with what was held back', async () => {
    const { engine } = await open(saying('abc <to'));
    const maxTokens = tokenizer.encodeText('abc <to').length;
    const { content, reason, usage } = await answer(
      engine,
      request('q', { maxTokens, stop: ['<tool>'] }),
    );
    expect({ content, reason }).toEqual({ content: 'abc <to', reason: 'length' });
    expect(usage.completionTokens).toBe(maxTokens);
  });

  it('of no tokens does no work', async () => {
    const { engine, session } = await open();
    const { content, reason, usage } = await answer(engine, request('q', { maxTokens: 0 }));
    expect({ content, reason }).toEqual({ content: '', reason: 'length' });
    expect(usage.completionTokens).toBe(0);
    expect(session.prefills).toEqual([]);
  });

  it('without a limit goes on to the end of the context', async () => {
    const { engine, session } = await open((state) => state.length % 7, 64);
    const { reason, usage } = await answer(engine, request('q', { maxTokens: null }));
    expect(reason).toBe('length');
    expect(usage.promptTokens + usage.completionTokens).toBe(64);
    expect(session.state).toHaveLength(63);
  });

  const xml = (n: number) =>
    `<tool_call>\n<function=f>\n<parameter=n>\n${n}\n</parameter>\n</function>\n</tool_call>`;
  const tools = [{ name: 'f', parameters: { properties: { n: { type: 'integer' } } } }];

  it('has tool calls, and says so', async () => {
    const { engine } = await open(saying(`I call\n${xml(1)}\n${xml(2)}`));
    const asked = request('q', { tools, maxTokens: null });
    const { content, calls, reason } = await answer(engine, asked);
    expect({ content, reason }).toEqual({ content: 'I call', reason: 'tool_calls' });
    expect(calls.map((call) => call.arguments)).toEqual([{ n: 1 }, { n: 2 }]);
    expect(new Set(calls.map((call) => call.id)).size).toBe(2);
    expect(calls[0]?.id).toMatch(/^call_[0-9a-f]{24}$/);
  });

  it('ends with its first call when calls may not be parallel', async () => {
    const { engine } = await open(saying(`${xml(1)}\n${xml(2)}`));
    const asked = request('q', { tools, maxTokens: null, parallelToolCalls: false });
    const { calls, reason } = await answer(engine, asked);
    expect(reason).toBe('tool_calls');
    expect(calls).toHaveLength(1);
  });

  it('is sampled as the checkpoint says where the request says nothing', async () => {
    const { engine, session } = await open(saying('x'));
    await answer(engine, request('q', { sampling: { topK: 5, seed: 11 } }));
    expect(session.sampled[0]).toEqual({
      temperature: 0.6,
      topP: 0.95,
      topK: 5,
      minP: 0,
      allowed: null,
      bias: null,
    });
    await answer(engine, request('q', { sampling: {} }));
    await answer(engine, request('q', { sampling: {} }));
    expect(session.seeds[0]).toBe(11);
    expect(session.seeds[1]).not.toBe(session.seeds[2]);
  });
});

describe('logits', () => {
  const penalised = { presencePenalty: 0.5, frequencyPenalty: 0.25, logitBias: { 7: -100 } };

  it('are lowered for what the answer holds already, and moved as asked', async () => {
    const words = [5, 5, 7];
    const { engine, session } = await open((state) => words[state.length - 3]);
    const sampling = { ...penalised };
    await collect(engine.continueTokens({ tokens: [1, 2, 3], maxTokens: 4, sampling }, never));
    const biases = session.sampled.map(({ bias }) => [
      [...(bias?.ids ?? [])],
      [...(bias?.values ?? [])],
    ]);
    expect(biases).toEqual([
      [[7], [-100]],
      [
        [7, 5],
        [-100, -0.75],
      ],
      [
        [7, 5],
        [-100, -1],
      ],
      [
        [7, 5],
        [-100.75, -1],
      ],
    ]);
  });

  it('are told of as probabilities of the content, the likeliest first', async () => {
    const { engine } = await open(saying('ab'));
    const asked = request('q', { thinking: false, maxTokens: null, topLogprobs: 2 });
    const events = await collect(engine.chat(asked, never));
    const told = events.flatMap((e) => (e.type === 'text' ? (e.logprobs ?? []) : []));
    expect(told.map((one) => one.text).join('')).toBe('ab');
    // The fake's logits are 0 but for id 3 (2) and id 9 (1).
    const norm = Math.log(Math.exp(2) + Math.exp(1) + 498);
    for (const { top, logprob, bytes, text } of told) {
      expect(top.map((one) => one.logprob)).toEqual([
        expect.closeTo(2 - norm, 5),
        expect.closeTo(1 - norm, 5),
      ]);
      expect(logprob).toBeCloseTo(-norm, 5);
      expect(Buffer.from(bytes).toString()).toBe(text);
    }
  });
});

describe('a state', () => {
  it('is kept for the next answer to the same prompt', async () => {
    const { engine, session } = await open();
    const asked = (again: boolean) => request('q', { again, sampling: { seed: 1 } });
    const first = await answer(engine, asked(true));
    const second = await answer(engine, asked(false));
    expect(session.prefills).toHaveLength(1);
    expect(second.usage.cachedTokens).toBe(second.usage.promptTokens);
    expect({ ...second, usage: null, timings: null }).toEqual({
      ...first,
      usage: null,
      timings: null,
    });
  });

  /** What an engine says that has answered nothing before. */
  const fresh = async (asked: ChatRequest) => {
    const { content, reason } = await answer((await open()).engine, asked);
    return { content, reason };
  };

  it('goes on where the new prompt begins with all of it, and says what a fresh one says', async () => {
    const { engine, session } = await open();
    const first = Array.from({ length: 10 }, (_, i) => i + 1);
    await collect(engine.continueTokens({ tokens: first, maxTokens: 4, sampling: {} }, never));
    const held = [...session.state];
    expect(held).toHaveLength(13);

    const longer = [...held, 77, 78];
    const after = await collect(
      engine.continueTokens({ tokens: longer, maxTokens: 4, sampling: {} }, never),
    );
    expect(session.prefills.at(-1)).toEqual([77, 78]);
    expect(summary(after).usage.cachedTokens).toBe(13);
    const other = await collect(
      (await open()).engine.continueTokens({ tokens: longer, maxTokens: 4, sampling: {} }, never),
    );
    const ids = (events: GenerateEvent[]) =>
      events.flatMap((e) => (e.type === 'token' ? [e.id] : []));
    expect(ids(after)).toEqual(ids(other));
  });

  it('that is the whole prompt needs no work at all', async () => {
    const { engine, session } = await open();
    const asked = { tokens: [1, 2, 3], maxTokens: 1, sampling: {} };
    const first = await collect(engine.continueTokens(asked, never));
    const second = await collect(engine.continueTokens(asked, never));
    expect(session.prefills).toHaveLength(1);
    expect(second.find((event) => event.type === 'token')).toEqual(
      first.find((event) => event.type === 'token'),
    );
  });

  it('of another conversation is dropped', async () => {
    const { engine, session } = await open();
    await answer(engine, request('one'));
    const { content, reason, usage } = await answer(engine, request('two'));
    expect(session.resets).toBe(1);
    expect(usage.cachedTokens).toBe(0);
    expect({ content, reason }).toEqual(await fresh(request('two')));
  });

  it('is whole after a generation was left or cancelled between tokens', async () => {
    const { engine, session } = await open();
    for await (const event of engine.chat(request('q'), never)) {
      if (event.type === 'text') break;
    }
    const held = [...session.state];
    expect(held).not.toContain(-1);

    const cancel = new AbortController();
    const cancelled = async () => {
      for await (const event of engine.chat(request('q'), cancel.signal)) {
        if (event.type === 'text') cancel.abort();
      }
    };
    await expect(cancelled()).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
    expect(session.state).not.toContain(-1);
    const { content, reason } = await answer(engine, request('q'));
    expect({ content, reason }).toEqual(await fresh(request('q')));
  });

  it('is as before after a prefill that was cancelled', async () => {
    const { engine, session } = await open();
    const cancel = new AbortController();
    session.beforeStep = async (cancelled) => {
      cancel.abort(new FlashmoeError('ERR_INTERRUPTED', 'the client left'));
      await cancelled;
    };
    await expect(collect(engine.chat(request('q'), cancel.signal))).rejects.toMatchObject({
      code: 'ERR_INTERRUPTED',
      message: 'the client left',
    });
    session.beforeStep = null;
    expect(session.state).not.toContain(-1);
    const { content, reason } = await answer(engine, request('q'));
    expect({ content, reason }).toEqual(await fresh(request('q')));
  });

  it('is as before, and the work cancelled, when a prefill is left', async () => {
    const { engine, session } = await open();
    session.beforeStep = (cancelled) => cancelled;
    let seen = 0;
    for await (const event of engine.chat(request('q'), never)) {
      if (event.type === 'prefill' && seen++ === 1) break;
    }
    session.beforeStep = null;
    const { content, reason } = await answer(engine, request('q'));
    expect({ content, reason }).toEqual(await fresh(request('q')));
  });

  it('is gone back from after a step that failed, and the failure keeps its code', async () => {
    const { engine, session } = await open();
    let steps = 0;
    session.beforeStep = () =>
      ++steps < 3
        ? Promise.resolve()
        : Promise.reject(Object.assign(new Error('layer_07.bin: short read'), { code: 'ERR_IO' }));
    await expect(collect(engine.chat(request('q'), never))).rejects.toMatchObject({
      code: 'ERR_IO',
      message: 'layer_07.bin: short read',
    });
    session.beforeStep = null;
    const { content, reason } = await answer(engine, request('q'));
    expect({ content, reason }).toEqual(await fresh(request('q')));
  });
});

describe('a request', () => {
  it('that does not fit the context is refused before any work, with both numbers', async () => {
    const { engine, session } = await open(undefined, 40);
    const empty = await engine.countTokens(request('', { maxTokens: 1 }));
    const words = (count: number): ChatRequest => request('x'.repeat(count), { maxTokens: 1 });
    let fits = 0;
    while ((await engine.countTokens(words(fits))) < 39) fits++;
    expect(await engine.countTokens(words(fits))).toBe(39);
    let tooMany = fits;
    const refusal = async (): Promise<number> => {
      try {
        return await engine.countTokens(words(++tooMany));
      } catch (error) {
        expect(error).toMatchObject({
          code: 'ERR_CONTEXT',
          message: expect.stringMatching(/the prompt has 40 tokens/) as string,
          figures: { promptTokens: 40, contextLength: 40 },
        });
        return 0;
      }
    };
    while ((await refusal()) > 0);
    await expect(collect(engine.chat(words(tooMany), never))).rejects.toMatchObject({
      code: 'ERR_CONTEXT',
    });
    expect(session.prefills).toEqual([]);
    // More tokens than the context has room for are no error: the answer ends with it.
    expect(await engine.countTokens(request('', { maxTokens: 1_000_000 }))).toBe(empty);
  });

  it('while another is answered is refused, and the other goes on', async () => {
    const { engine } = await open(saying('a b c d'));
    const first = engine.chat(request('q'), never)[Symbol.asyncIterator]();
    await first.next();
    await expect(collect(engine.chat(request('r'), never))).rejects.toMatchObject({
      code: 'ERR_LOCKED',
    });
    let step = await first.next();
    let last: GenerateEvent | undefined;
    for (; step.done !== true; step = await first.next()) last = step.value;
    expect(last).toMatchObject({ type: 'finish', reason: 'stop' });
  });

  it('of tokens is refused when there are none or one is no id', async () => {
    const { engine } = await open();
    for (const tokens of [[], [512], [-1], [1.5]]) {
      const asked = { tokens, maxTokens: 1, sampling: {} };
      await expect(collect(engine.continueTokens(asked, never))).rejects.toMatchObject({
        code: 'ERR_USAGE',
        subject: 'tokens',
      });
    }
  });

  it('of tokens gets exactly as many as it asks for, stop ids among them', async () => {
    const { engine } = await open(() => 497);
    const asked = { tokens: [1], maxTokens: 3, sampling: { temperature: 0 } };
    const events = await collect(engine.continueTokens(asked, never));
    expect(events.filter((event) => event.type === 'token')).toHaveLength(3);
    expect(events.at(-1)).toMatchObject({ type: 'finish', reason: 'length' });
  });
});

describe('an engine', () => {
  it('tells what it has loaded', async () => {
    const { engine, addon } = await open(undefined, 1000);
    expect(engine.model).toEqual({
      id: 'm',
      repo: 'org/model',
      quant: '4bit',
      contextLength: 1000,
      expertsPerToken: 4,
      backend: 'fake',
      isa: 'none',
      denseBytes: 1,
      expertBytesPerToken: 2,
      gpuMissing: null,
      memory: null,
      sessions: 1,
    });
    expect(addon.opened[0]).toMatchObject({ tokenLimit: 500, expertsPerToken: 0, backend: 'cpu' });
    expect((await open(undefined, 1e9)).engine.model.contextLength).toBe(4096);
  });

  it('has as much of its context as memory allows, unless a length was asked for', async () => {
    const opened = (memoryFor: number, contextLength?: number) =>
      openEngine({
        addon: fakeAddon(new FakeSession(() => 0), {
          maxPositions: 262144,
          memoryFor,
        }) as unknown as NativeAddon,
        ...{ id: 'm', modelDir: dir, expertsDir: dir, threads: 1, ioThreads: 1 },
        ...(contextLength === undefined ? {} : { contextLength }),
      });
    expect((await opened(262144)).model.contextLength).toBe(262144);
    expect((await opened(100000)).model.contextLength).toBe(65536);
    expect((await opened(100000, 100000)).model.contextLength).toBe(100000);
    await expect(opened(99999, 100000)).rejects.toMatchObject({ code: 'ERR_CONTEXT' });
    await expect(opened(1000)).rejects.toMatchObject({ code: 'ERR_CONTEXT' });
  });

  it('that is closed ends the running generation first, and closes once', async () => {
    const { engine, session, addon } = await open((state) => state.length % 7);
    const running = collect(engine.chat(request('q', { maxTokens: null }), never));
    const closed = Promise.all([engine.close(), engine.close()]);
    await expect(running).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
    await closed;
    expect([session.closed, addon.closed]).toEqual([true, 1]);
  });

  it('is not opened without its files, and names what is missing', async () => {
    const addon = fakeAddon(new FakeSession(() => 0)) as unknown as NativeAddon;
    const to = (modelDir: string, expertsDir = modelDir) =>
      openEngine({ addon, id: 'm', modelDir, expertsDir, threads: 1, ioThreads: 1 });
    await expect(to(join(dir, 'nowhere'))).rejects.toMatchObject({
      code: 'ERR_MODEL_MISSING',
      hint: 'run `flashmoe setup m`',
    });
    const damaged = await mkdtemp(join(tmpdir(), 'engine-'));
    await expect(to(damaged)).rejects.toMatchObject({
      code: 'ERR_MODEL_DAMAGED',
      message: expect.stringContaining('model_weights.json: not there') as string,
    });
    await expect(to(dir, damaged)).rejects.toMatchObject({
      message: expect.stringContaining('layout.json: not there') as string,
    });
    await writeFile(join(damaged, 'model_weights.json'), '{"format":"other"}');
    await expect(to(damaged)).rejects.toMatchObject({
      message: expect.stringContaining('model_weights.json: format other') as string,
    });
  });
});
