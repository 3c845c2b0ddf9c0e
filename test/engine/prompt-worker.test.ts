import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { loadChatTemplate } from '../../src/engine/chat-template.js';
import { PromptWorker } from '../../src/engine/prompt-worker/worker.js';
import type { PromptLimits } from '../../src/engine/prompt-worker/limits.js';
import { loadTokenizer } from '../../src/engine/tokenizer.js';
import type { ChatMessage } from '../../src/engine/types.js';
import { fixture } from './fixtures.js';

const FOLDER = fixture('qwen3_5_moe');
const opened: PromptWorker[] = [];
afterEach(async () => {
  for (const worker of opened.splice(0)) await worker.close();
});

async function open(text: string | null, limits: Partial<PromptLimits> = {}) {
  const template = text === null ? null : { text, file: 'given.jinja' };
  const worker = await PromptWorker.open({ files: FOLDER, template }, limits);
  opened.push(worker);
  return worker;
}

const ask = (content: string, thinking: boolean | null = null) => ({
  messages: [{ role: 'user', content }] satisfies ChatMessage[],
  tools: [],
  thinking,
});

/** Harmless until a user says so: what a template does when it is opened is another matter. */
const onDemand = (program: string) =>
  `{%- if messages[0].content == 'go' -%}${program}{%- endif -%}{{ messages[0].content }}<|im_end|>`;

/** Loops inside loops: no array of that length is ever made. */
const LOOPS = Array.from({ length: 12 }, () => '{%- for i in range(99) -%}').join('');
const ENDS = '{%- endfor -%}'.repeat(12);

describe('a prompt worker', () => {
  it('makes the same prompts as the template itself', async () => {
    const tokenizer = await loadTokenizer(FOLDER);
    const template = await loadChatTemplate(FOLDER, tokenizer);
    const worker = await open(null);
    const request = { ...ask('why <|im_end|>?', false), templateVariables: { extra: 1 } };
    expect(await worker.prompt(request)).toEqual(template?.prompt(request));
    expect(await worker.encodeText('a🚀b')).toEqual(tokenizer.encodeText('a🚀b'));
    expect(worker.template).toEqual({
      source: template?.source,
      endOfTurn: 497,
      turnEnds: [...(template?.turnEnds() ?? [])],
    });
  });

  it('answers what is short while it works on what is long', async () => {
    const worker = await open(null);
    const order: string[] = [];
    const left = new AbortController();
    const long = worker.encodeText('word '.repeat(2_000_000), { signal: left.signal }).then(
      () => order.push('long'),
      () => order.push('long, given up'),
    );
    const short = Array.from({ length: 5 }, () =>
      worker.prompt(ask('hi')).then(() => order.push('short')),
    );
    await Promise.all(short);
    expect(order).toEqual(['short', 'short', 'short', 'short', 'short']);
    left.abort();
    await long;
  });

  it('works from small files that lie nowhere yet', async () => {
    const names = ['tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja'];
    const texts: Record<string, string> = {};
    for (const name of names) texts[name] = await readFile(join(FOLDER, name), 'utf8');
    const files = { label: 'org/model', texts };
    const worker = await PromptWorker.open({ files });
    opened.push(worker);
    expect(await worker.prompt(ask('hi'))).toEqual(await (await open(null)).prompt(ask('hi')));
    const refused = PromptWorker.open({ files: { ...files, texts: { 'tokenizer.json': 'null' } } });
    await expect(refused).rejects.toThrow(/^org\/model\/tokenizer.json: not a JSON object/);
  });

  it('answers in the order of the questions, and a refusal only to whom it concerns', async () => {
    const worker = await open("{{ raise_exception('not that') if messages[0].content == 'no' }}ok");
    const answers = ['yes', 'no', 'yes'].map((text) => worker.prompt(ask(text)));
    const settled = await Promise.allSettled(answers);
    expect(settled.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    await expect(answers[1]).rejects.toMatchObject({
      code: 'ERR_TEMPLATE',
      subject: 'messages',
      message: "the model's chat template refuses: not that",
    });
    expect(await worker.tryPrompt(ask('no'))).toBeNull();
  });

  it.each([
    ['loops without an end in sight', LOOPS + ENDS],
    ['counts to a thousand million', '{%- for i in range(1000000000) -%}{%- endfor -%}'],
    ['prints without an end', `${LOOPS}{{ messages[0].content }}${ENDS}`],
    [
      'fills the memory',
      `{%- set ns = namespace(a=[1]) -%}${LOOPS}{%- set ns.a = ns.a + ns.a -%}${ENDS}`,
    ],
  ])('ends a template that %s, and goes on with a new thread', async (_, program) => {
    const worker = await open(onDemand(program), { renderMs: 1500, heapMiB: 256 });
    const before = performance.now();
    const gone = worker.prompt(ask('go'));
    // Asked while the other one runs.
    const next = worker.prompt(ask('fine'));
    await expect(gone).rejects.toMatchObject({ code: 'ERR_TEMPLATE', subject: 'messages' });
    await expect(gone).rejects.toThrow(/was ended|refuses/);
    expect((await next).text).toBe('fine<|im_end|>');
    expect(performance.now() - before).toBeLessThan(20_000);
  });

  it('never holds up the thread that asks', async () => {
    const worker = await open(onDemand(`${LOOPS}${ENDS}`), { renderMs: 600 });
    let longest = 0;
    let last = performance.now();
    const timer = setInterval(() => {
      longest = Math.max(longest, performance.now() - last);
      last = performance.now();
    }, 5);
    await expect(worker.prompt(ask('go'))).rejects.toThrow(/not done after 0.6 s/);
    clearInterval(timer);
    expect(longest).toBeLessThan(500);
  });

  it('refuses a prompt that is longer than any context', async () => {
    const worker = await open('{{ messages[0].content }}', { characters: 1000 });
    await expect(worker.prompt(ask('x'.repeat(1001)))).rejects.toThrow(
      /made 1001 characters; 1000 are the limit/,
    );
    expect((await worker.prompt(ask('x'.repeat(1000)))).text).toHaveLength(1000);
  });

  it('is not opened over a template that loops when it is looked at', async () => {
    const opening = open(`${LOOPS}${ENDS}`, { renderMs: 300 });
    await expect(opening).rejects.toMatchObject({ code: 'ERR_TEMPLATE' });
  });

  it('says at once that it is closed, whatever its thread is at', async () => {
    const worker = await open(onDemand(`${LOOPS}${ENDS}`));
    await worker.prompt(ask('fine'));
    const asked = worker.prompt(ask('go'));
    const refused = expect(asked).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
    await worker.close();
    await refused;
    await expect(worker.prompt(ask('fine'))).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
  });
});
