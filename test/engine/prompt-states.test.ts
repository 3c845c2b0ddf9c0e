// Beginnings of prompts that are not read twice: in one process, in another, and beside files that lie.

import {
  chmod,
  mkdir,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import type { FlashmoeError } from '../../src/base/errors.js';
import type { OpenEngineOptions } from '../../src/engine/open-engine.js';
import type { ChatRequest, Engine, GenerateEvent, Usage } from '../../src/engine/types.js';
import { packed, type Packed } from './packed.js';

vi.setConfig({ testTimeout: 60_000 });

const never = new AbortController().signal;
/** About as many tokens as characters. */
const SYSTEM = 'You are careful, brief and exact. '.repeat(10);

function request(messages: ChatRequest['messages'], rest: Partial<ChatRequest> = {}): ChatRequest {
  return {
    messages: [{ role: 'system', content: SYSTEM }, ...messages],
    tools: [],
    thinking: false,
    maxTokens: 4,
    stop: [],
    sampling: { seed: 5 },
    ...rest,
  };
}
const ask = (content: string): ChatRequest => request([{ role: 'user', content }]);

interface Said {
  text: string;
  usage: Usage;
}

async function say(engine: Engine, asked: ChatRequest): Promise<Said> {
  let text = '';
  let last: GenerateEvent | undefined;
  for await (const event of engine.chat(asked, never)) {
    if (event.type === 'text') text += `${event.channel}:${event.text}`;
    last = event;
  }
  if (last?.type !== 'finish') throw new Error('no finish');
  return { text, usage: last.usage };
}

describe.each(['qwen3_5_moe', 'qwen3_moe', 'deepseek_v3', 'kimi_k2'])(
  'a prompt whose beginning was read before (%s)',
  (family) => {
    let model: Packed;
    let root = '';
    let notices: FlashmoeError[] = [];
    beforeAll(async () => {
      model = await packed(family);
      root = join(model.dir, 'prompts');
    });
    afterAll(() => rm(model.dir, { recursive: true }));
    beforeEach(async () => {
      notices = [];
      await rm(root, { recursive: true, force: true });
    });

    const states = (): NonNullable<OpenEngineOptions['states']> => ({
      root,
      maxBytes: 1e9,
      version: '1.2.3',
      now: () => Date.now(),
      notice: (error) => notices.push(error),
    });
    const withStore = () => model.open({ states: states() });
    const fresh = async (asked: ChatRequest): Promise<string> => {
      const engine = await model.open();
      const { text } = await say(engine, asked);
      await engine.close();
      return text;
    };
    const files = async (): Promise<string[]> =>
      (await readdir(join(root, 'org', family)).catch(() => [])).sort();

    it('is read from where it departs, and answered as if all of it had been', async () => {
      const engine = await model.open();
      const first = await say(engine, ask('one?'));
      expect(first.usage.cachedTokens).toBe(0);
      const second = await say(engine, ask('Something else?'));
      expect(second.usage.cachedTokens).toBeGreaterThan(0.7 * second.usage.promptTokens);
      expect(second.usage.cachedTokens).toBeLessThan(second.usage.promptTokens);
      expect(second.text).toBe(await fresh(ask('Something else?')));
      expect((await say(engine, ask('one?'))).text).toBe(first.text);
      await engine.close();
    });

    it('is not read again by the next process, and its file is its owner’s alone', async () => {
      const before = await withStore();
      await say(before, ask('one?'));
      await before.close();
      expect((await files()).length).toBeGreaterThan(0);
      for (const name of await files()) {
        expect((await stat(join(root, 'org', family, name))).mode & 0o777).toBe(0o600);
      }
      expect((await stat(root)).mode & 0o777).toBe(0o700);
      expect((await stat(join(root, 'org', family))).mode & 0o777).toBe(0o700);

      const after = await withStore();
      const { text, usage } = await say(after, ask('two?'));
      expect(usage.cachedTokens).toBeGreaterThan(0.7 * usage.promptTokens);
      expect(text).toBe(await fresh(ask('two?')));
      await after.close();
      expect(notices).toEqual([]);
    });

    it('is read after all where its file is damaged, which then goes', async () => {
      const before = await withStore();
      await say(before, ask('one?'));
      await before.close();
      const expected = await fresh(ask('two?'));
      const [name = ''] = await files();
      const path = join(root, 'org', family, name);
      const whole = await readFile(path);
      const damages: [string, () => Promise<unknown>][] = [
        ['cut', () => truncate(path, whole.length - 1)],
        ['one bit', () => writeFile(path, flipped(whole, whole.length - 5))],
        ['one token', () => writeFile(path, flipped(whole, 60))],
      ];
      for (const [what, damage] of damages) {
        await writeFile(path, whole);
        await damage();
        notices = [];
        const engine = await withStore();
        const { text, usage } = await say(engine, ask('two?'));
        await engine.close();
        expect(text, what).toBe(expected);
        expect(usage.cachedTokens, what).toBe(0);
        expect(notices.map(({ message }) => message).join(), what).toContain(name);
      }
    });
  },
);

function flipped(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[at] = (copy[at] ?? 0) ^ 4;
  return copy;
}

describe('states of prompts', () => {
  const family = 'qwen3_5_moe';
  let model: Packed;
  let root = '';
  let folder = '';
  let notices: FlashmoeError[] = [];
  beforeAll(async () => {
    model = await packed(family);
    root = join(model.dir, 'prompts');
    folder = join(root, 'org', family);
  });
  afterAll(() => rm(model.dir, { recursive: true }));
  beforeEach(async () => {
    notices = [];
    await rm(root, { recursive: true, force: true });
  });
  const open = (
    rest: Partial<NonNullable<OpenEngineOptions['states']>> = {},
    options: Partial<OpenEngineOptions> = {},
  ) =>
    model.open({
      ...options,
      states: {
        root,
        maxBytes: 1e9,
        version: '1.2.3',
        now: () => Date.now(),
        notice: (error) => notices.push(error),
        ...rest,
      },
    });

  it('are of one program, one top-k and one model only', async () => {
    const first = await open();
    await say(first, ask('one?'));
    await first.close();
    for (const other of [
      await open({ version: '1.2.4' }),
      await open({}, { expertsPerToken: 1 }),
      await open({}, { id: 'org/other' }),
    ]) {
      expect((await say(other, ask('one?'))).usage.cachedTokens).toBe(0);
      await other.close();
    }
    expect(notices).toEqual([]);
  });

  it('stay below their limit: what was used longest ago goes first', async () => {
    const first = await open();
    await say(first, ask('one?'));
    await first.close();
    const one = await readdir(folder);
    const bytes = async (names: string[]): Promise<number> => {
      const sizes = names.map(async (name) => (await stat(join(folder, name))).size);
      return (await Promise.all(sizes)).reduce((sum, each) => sum + each, 0);
    };
    const size = await bytes(one);
    const other = (n: number): ChatRequest => ({
      ...ask('x'),
      messages: [
        { role: 'system', content: `${n} ${SYSTEM}` },
        { role: 'user', content: 'x' },
      ],
    });
    const engine = await open({ maxBytes: 2.5 * size });
    for (const name of one) await utimes(join(folder, name), new Date(1000), new Date(1000));
    for (let n = 0; n < 3; n++) await say(engine, other(n));
    await engine.close();
    const left = await readdir(folder);
    expect(left.filter((name) => one.includes(name))).toEqual([]);
    expect(await bytes(left)).toBeLessThanOrEqual(2.5 * size);
    expect(left.length).toBeGreaterThan(0);

    const none = await open({ maxBytes: 0 });
    await say(none, other(9));
    await none.close();
    expect((await readdir(folder)).sort()).toEqual(left.sort());
  });

  it('share their folder with nothing: what a crash left is cleared away, what is not ours stays', async () => {
    await mkdir(folder, { recursive: true });
    await chmod(root, 0o755);
    const old = join(folder, '.0123456789ab.partial');
    for (const name of ['notes.txt', '.0123456789ab.partial', '.ba9876543210.partial']) {
      await writeFile(join(folder, name), 'x');
    }
    await utimes(old, new Date(1000), new Date(1000));
    await symlink('/etc/hostname', join(folder, 'link.state'));
    const engine = await open();
    await engine.close();
    // The young one may be another process's.
    expect((await readdir(folder)).sort()).toEqual([
      '.ba9876543210.partial',
      'link.state',
      'notes.txt',
    ]);
    expect((await stat(root)).mode & 0o777).toBe(0o700);
  });

  it('are not kept where their folder is a link, and that is said', async () => {
    const elsewhere = join(model.dir, 'elsewhere');
    await mkdir(elsewhere, { recursive: true });
    await symlink(elsewhere, root);
    const engine = await open();
    expect((await say(engine, ask('one?'))).text).not.toBe('');
    await engine.close();
    expect(await readdir(elsewhere)).toEqual([]);
    expect(notices[0]?.message).toContain('states of prompts are not kept');
    await rm(root);
  });

  it('of a question whose reasoning the template drops later are left where the next question departs', async () => {
    const call = { id: 'call_1', name: 'f', arguments: { n: 1 } };
    const tools = [{ name: 'f', parameters: { properties: { n: { type: 'integer' } } } }];
    const long = 'word '.repeat(200);
    const loop: ChatRequest['messages'] = [
      { role: 'user', content: `${long}?` },
      { role: 'assistant', content: '', reasoning: 'I call f', toolCalls: [call] },
      { role: 'tool', content: 'done', toolCallId: 'call_1' },
    ];
    const engine = await open();
    await say(engine, request(loop, { tools, thinking: true }));
    const next = request(
      [...loop, { role: 'assistant', content: 'so' }, { role: 'user', content: 'and now?' }],
      { tools, thinking: true },
    );
    const { text, usage } = await say(engine, next);
    // System prompt and question, though the turn behind them reads otherwise now.
    expect(usage.cachedTokens).toBeGreaterThan(0.7 * usage.promptTokens);
    await engine.close();
    const other = await model.open();
    expect(text).toBe((await say(other, next)).text);
    await other.close();
  });

  it('of a prompt that was cancelled half way are gone on from', async () => {
    const long = request([{ role: 'user', content: 'word '.repeat(440) }]);
    const engine = await open();
    const cancel = new AbortController();
    const cancelled = async (): Promise<void> => {
      for await (const event of engine.chat(long, cancel.signal)) {
        if (event.type === 'prefill' && event.done >= 1024) cancel.abort();
      }
    };
    await expect(cancelled()).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
    const { text, usage } = await say(engine, long);
    expect(usage.cachedTokens).toBeGreaterThanOrEqual(1024);
    await engine.close();
    const other = await model.open();
    expect(text).toBe((await say(other, long)).text);
    await other.close();
  });
});
