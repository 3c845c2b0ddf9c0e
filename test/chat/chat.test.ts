import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { terminalText } from '../../src/base/terminal-text.js';
import { attachFiles } from '../../src/chat/attach.js';
import type { ChatBackend, ChatEvent } from '../../src/chat/backend.js';
import { Chat, readingText, type Entry } from '../../src/chat/chat.js';
import { parseChatLine } from '../../src/chat/commands.js';
import { edit, EMPTY_EDITOR, sent, type Edit, type Editor } from '../../src/chat/editor.js';
import type { ChatMessage } from '../../src/engine/types.js';

test.each([
  ['hello', { type: 'message', text: 'hello' }],
  ['/think on', { type: 'command', name: '/think', argument: 'on' }],
  [
    '/SYSTEM  Be brief.\nAnd kind.',
    { type: 'command', name: '/system', argument: 'Be brief.\nAnd kind.' },
  ],
  ['/exit', { type: 'command', name: '/quit', argument: '' }],
  ['//etc is a folder', { type: 'message', text: '/etc is a folder' }],
  ['/etc/passwd is a file', { type: 'message', text: '/etc/passwd is a file' }],
  ['/thikn on', { type: 'unknown', word: '/thikn', nearest: '/think' }],
  ['/zzz', { type: 'unknown', word: '/zzz', nearest: null }],
])('%j is read as what it is', (line, expected) => {
  expect(parseChatLine(line)).toEqual(expected);
});

test('what a terminal would obey is taken out of text, and nothing else is', () => {
  expect(terminalText('\u001B[31mred\u001B]52;c;QQ==\u0007\u009B2J')).toBe('[31mred]52;c;QQ==2J');
  expect(terminalText('a\u202Eb\u2066c\r\nd\te')).toBe('abc\nd\te');
  expect(terminalText('Grüße, 你好 👩‍👧')).toBe('Grüße, 你好 👩‍👧');
});

describe('the line that is written', () => {
  const after = (editor: Editor, ...edits: (Edit | string)[]): Editor =>
    edits.reduce(
      (line: Editor, one) =>
        edit(line, typeof one === 'string' ? { type: 'insert', text: one } : one),
      editor,
    );

  test('moves by characters that take two units, by words and by lines', () => {
    const line = after(
      EMPTY_EDITOR,
      'one 👩 two',
      { type: 'word-left' },
      { type: 'left' },
      { type: 'backspace' },
    );
    expect(line).toMatchObject({ text: 'one  two', cursor: 4 });
    const lines = after(EMPTY_EDITOR, 'first\nsecond', { type: 'up' }, '!');
    expect(lines.text).toBe('first!\nsecond');
    expect(after(lines, { type: 'down' }, { type: 'end' }, '?').text).toBe('first!\nsecond?');
    expect(after(lines, { type: 'delete-to-start' }).text).toBe('\nsecond');
  });

  test('goes back to what was sent, and forward to what was being written', () => {
    const line = after(sent(after(sent(after(EMPTY_EDITOR, 'a')), 'b')), 'draft');
    const back = after(line, { type: 'up' }, { type: 'up' }, { type: 'up' });
    expect(back.text).toBe('a');
    expect(after(back, { type: 'down' }, { type: 'down' }).text).toBe('draft');
    expect(sent(after(EMPTY_EDITOR, ' ')).history).toEqual([' ']);
  });
});

function folderOf(files: Record<string, string | Buffer>): string {
  const folder = mkdtempSync(join(tmpdir(), 'flashmoe-chat-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content);
  return folder;
}

describe('files in a message', () => {
  const attach = (message: string, folder: string) =>
    attachFiles(message, { folder, homeDirectory: folder });

  test('come behind it in a fence that their own fences cannot close', async () => {
    const folder = folderOf({ 'a b.md': '```\ncode\n```\n', 'x.txt': 'text' });
    const { text, files } = await attach('compare @"a b.md" and @~/x.txt', folder);
    expect(files).toEqual(['a b.md', '~/x.txt']);
    expect(text).toContain('a b.md:\n````\n```\ncode\n```\n````');
    expect(text).toContain('x.txt:\n```\ntext\n```');
  });

  test('a name of a person is none, and one that is not there, not text or a folder is said', async () => {
    const folder = folderOf({ 'blob.bin': Buffer.from([0xff, 0xfe, 0, 1]) });
    expect(await attach('ask @someone', folder)).toEqual({ text: 'ask @someone', files: [] });
    for (const [message, words] of [
      ['see @missing.txt', 'there is no such file'],
      ['see @blob.bin', 'is no text file'],
      ['see @./', 'is no file'],
    ] as const) {
      await expect(attach(message, folder)).rejects.toThrow(words);
    }
  });
});

/** Answers with these events; remembers what it was asked. */
class ScriptedBackend implements ChatBackend {
  readonly place = 'a test';
  readonly contextLength = 1000;
  readonly asked: ChatMessage[][] = [];
  closed = false;
  constructor(
    readonly model: string,
    private readonly events: readonly (ChatEvent | Error | 'hold')[],
  ) {}

  async *answer(
    messages: readonly ChatMessage[],
    _: unknown,
    signal: AbortSignal,
  ): AsyncGenerator<ChatEvent> {
    this.asked.push([...messages]);
    for (const event of this.events) {
      if (event instanceof Error) throw event;
      if (event === 'hold') {
        await new Promise((_resolve, reject) =>
          signal.addEventListener('abort', () => reject(new Error('aborted')), { once: true }),
        );
      } else yield event;
    }
  }

  close(): Promise<void> {
    this.closed = true;
    return Promise.resolve();
  }
}

const FINISH: ChatEvent = {
  ...{ type: 'finish', reason: 'stop', promptTokens: 10, cachedTokens: 4, completionTokens: 2 },
  ...{ tokensPerSecond: 9, prefillSeconds: 1 },
};
const said = (text: string, channel: 'content' | 'reasoning' = 'content'): ChatEvent => ({
  type: 'text',
  channel,
  text,
});

function chatWith(
  backend: ScriptedBackend,
  folder = tmpdir(),
  others: ScriptedBackend[] = [],
): Chat {
  const open = ({ model }: { model: string | null }) => {
    const found = [backend, ...others].find((other) => model === null || other.model === model);
    return found === undefined
      ? Promise.reject(new Error(`${model} is not here`))
      : Promise.resolve(found);
  };
  const models = () => Promise.resolve([backend.model, ...others.map(({ model }) => model)]);
  const needs = { open, models, folder, homeDirectory: folder, now: () => 0 };
  return new Chat(
    needs,
    null,
    { system: null, maxTokens: null, temperature: null, seed: null },
    null,
  );
}

const entries = (chat: Chat): readonly Entry[] => chat.state().entries;

test('an answer is kept with its thought, and the next question is asked with both messages', async () => {
  const backend = new ScriptedBackend('tiny', [said('hm', 'reasoning'), said('four'), FINISH]);
  const chat = chatWith(backend);
  await chat.send('/system Be brief.');
  await chat.send('2+2?');
  await chat.send('sure?');
  expect(entries(chat)[2]).toEqual({ type: 'answer', reasoning: 'hm', text: 'four', note: '' });
  expect(chat.state()).toMatchObject({ answering: null, last: { cachedTokens: 4 } });
  expect(backend.asked[1]?.map(({ role, content }) => `${role}: ${content}`)).toEqual([
    'system: Be brief.',
    'user: 2+2?',
    'assistant: four',
    'user: sure?',
  ]);
});

test('an answer that is stopped stays as far as it came, and the conversation goes on', async () => {
  const backend = new ScriptedBackend('tiny', [said('one'), 'hold']);
  const chat = chatWith(backend);
  const done = chat.send('count');
  await expect.poll(() => chat.state().answering?.text).toBe('one');
  // What is typed meanwhile is not sent.
  await chat.send('more');
  expect(chat.stop()).toBe(true);
  await done;
  expect(entries(chat).at(-1)).toEqual({
    type: 'answer',
    reasoning: '',
    text: 'one',
    note: 'stopped',
  });
  expect(chat.stop()).toBe(false);
  expect(backend.asked).toHaveLength(1);
});

test('a question that failed is not part of the conversation, and what failed is an entry', async () => {
  const backend = new ScriptedBackend('tiny', [new Error('the disk is gone')]);
  const chat = chatWith(backend);
  await chat.send('a');
  expect(entries(chat).at(-1)).toMatchObject({ type: 'error', text: 'the disk is gone' });
  await chat.send('b');
  expect(backend.asked[1]?.map(({ content }) => content)).toEqual(['b']);
});

test('another model takes over when it is open; one that is not here changes nothing', async () => {
  const first = new ScriptedBackend('tiny', [said('x'), FINISH]);
  const second = new ScriptedBackend('large', [said('y'), FINISH]);
  const chat = chatWith(first, undefined, [second]);
  await chat.send('/model huge');
  expect(entries(chat).at(-1)).toMatchObject({ type: 'error', text: 'huge is not here' });
  expect(first.closed).toBe(false);
  await chat.send('/model large');
  expect(first.closed).toBe(true);
  expect(chat.state().model).toBe('large');
  await chat.send('/model');
  expect(entries(chat).at(-1)).toMatchObject({ text: 'tiny\nlarge (answers now)' });
});

test('what is sent while the model loads is answered when it is there', async () => {
  const backend = new ScriptedBackend('tiny', [said('four'), FINISH]);
  const ready = later<ChatBackend>();
  const chat = slowChat(() => ready.promise);
  const done = chat.send('2+2?');
  await expect.poll(() => chat.state().answering).toMatchObject({ text: '' });
  expect(chat.state().opening).toMatchObject({ model: 'tiny' });
  ready.resolve(backend);
  await done;
  expect(entries(chat).at(-1)).toMatchObject({ type: 'answer', text: 'four' });
  expect(chat.state()).toMatchObject({ model: 'tiny', opening: null });
});

test('a question that is stopped while the model loads is not asked, and the model goes on loading', async () => {
  const backend = new ScriptedBackend('tiny', [said('four'), FINISH]);
  const ready = later<ChatBackend>();
  const chat = slowChat(() => ready.promise);
  const done = chat.send('a');
  await expect.poll(() => chat.stop()).toBe(true);
  await done;
  ready.resolve(backend);
  await chat.send('b');
  expect(backend.asked.map((messages) => messages.map(({ content }) => content))).toEqual([['b']]);
});

test('a first model that cannot be opened ends the conversation with its reason; leaving meanwhile does not', async () => {
  const broken = slowChat(() => Promise.reject(new Error('a file is missing')));
  await expect(broken.opened()).rejects.toThrow('a file is missing');
  expect(broken.state().isClosed).toBe(true);
  const left = slowChat(
    (signal) =>
      new Promise((_, reject) =>
        signal.addEventListener('abort', () => reject(new Error('aborted'))),
      ),
  );
  await left.close();
  await expect(left.opened()).resolves.toBeUndefined();
});

function later<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => undefined;
  const promise = new Promise<T>((done) => (resolve = done));
  return { promise, resolve };
}

function slowChat(backend: (signal: AbortSignal) => Promise<ChatBackend>): Chat {
  return new Chat(
    {
      open: (_, signal, loading) => {
        loading('tiny');
        return backend(signal);
      },
      models: () => Promise.resolve([]),
      ...{ folder: tmpdir(), homeDirectory: tmpdir(), now: () => 0 },
    },
    null,
    { system: null, maxTokens: null, temperature: null, seed: null },
    null,
  );
}

test('a conversation is saved for its owner only, and loaded as it was', async () => {
  const folder = folderOf({ 'other.json': '{"format": "something else"}' });
  const chat = chatWith(
    new ScriptedBackend('tiny', [said('why', 'reasoning'), said('b'), FINISH]),
    folder,
  );
  await chat.send('/system S');
  await chat.send('a');
  await chat.send('/save talk.json');
  expect(statSync(join(folder, 'talk.json')).mode & 0o777).toBe(0o600);
  expect(readFileSync(join(folder, 'talk.json'), 'utf8')).not.toContain(folder);

  const backend = new ScriptedBackend('tiny', [said('d'), FINISH]);
  const again = chatWith(backend, folder);
  await again.send('/load talk.json');
  await again.send('c');
  expect(backend.asked[0]).toEqual([
    { role: 'system', content: 'S' },
    { role: 'user', content: 'a' },
    { role: 'assistant', content: 'b', reasoning: 'why' },
    { role: 'user', content: 'c' },
  ]);
  await again.send('/load other.json');
  expect(entries(again).at(-1)).toMatchObject({
    type: 'error',
    text: expect.stringContaining('holds no conversation') as string,
  });
});

test('the time left to read a prompt follows from what was read, and is not guessed at the beginning', () => {
  const answering = { since: 0, reasoning: '', text: '', pieces: 0, firstPieceAt: null };
  expect(readingText({ ...answering, reading: null }, 3000)).toBe('waiting for the model, 3 s');
  const reading = { done: 1000, total: 4000, since: 0 };
  expect(readingText({ ...answering, reading }, 1000)).toBe(
    'reading the prompt: 1,000 of 4,000 tokens',
  );
  expect(readingText({ ...answering, reading }, 10_000)).toBe(
    'reading the prompt: 1,000 of 4,000 tokens, 30 s left',
  );
});
