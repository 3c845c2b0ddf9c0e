// The chat of the page at `/` in a real browser, on a real server. Set SCREENSHOTS to a folder to look at it.

import type { BrowserContextOptions, Page } from 'playwright-core';
import { describe, expect, it } from 'vitest';
import type { GenerateEvent } from '../../src/engine/types.js';
import { aborted, finish, Gate, MemoryEngine, said, type Script } from '../server/memory-engine.js';
import { start } from '../server/running.js';
import { hasBrowser } from './browser.js';
import { check, openPage, PATIENCE, picture, shows } from './opened.js';

const FENCE = '```';
const RICH = `## A heading

Some *words*, **strong ones** and \`code\`, with a [link](https://example.org/a) &amp; more.

1. first
2. second
   - inner

| Size | Speed |
| --- | ---: |
| 35B | 11.1 |

> a quotation

${FENCE}ts
const answer: number = 6 * 7; // ${'a long line '.repeat(20)}
${FENCE}
`;
const HOSTILE = `<img src="https://evil.example/a.png" onerror="window.hurt = 1"><script>window.hurt = 2</script>

![a picture](https://evil.example/pixel.png) [click](javascript:window.hurt=3) [data](data:text/html,x)
<b>bold?</b> [ref][r] <javascript:window.hurt=4>

[r]: JavaScript:window.hurt=5
`;
/** Deeper than a reader of Markdown goes. */
const DEEP = `${'> '.repeat(3000)}deep`;

/** Says by name what a message asks for; anything else is said back. */
const answers: Script = async function* (request, signal): AsyncGenerator<GenerateEvent> {
  await Promise.resolve();
  const words = 'messages' in request ? (request.messages.at(-1)?.content ?? '') : '';
  yield { type: 'prefill', done: 100, total: 2000 };
  if (words === 'for ever') {
    yield said('It goes on ');
    await aborted(signal);
    return;
  }
  if (words === 'think') yield said('Let me see what that could mean.', 'reasoning');
  const text = { rich: RICH, hostile: HOSTILE, deep: DEEP }[words] ?? `You said: ${words}`;
  for (const piece of text.match(/[^]{1,7}/g) ?? []) yield said(piece);
  yield finish();
};

async function ask(page: Page, words: string): Promise<void> {
  await page.getByLabel('Message', { exact: true }).fill(words);
  await page.keyboard.press('Enter');
}

const answered = (page: Page, text: RegExp): Promise<void> => shows(page, 'log', text);
const turns = (page: Page) => page.locator('#log .turn').count();

describe.skipIf(!hasBrowser)('the chat of the page', () => {
  it('answers, thinks folded, and keeps conversations', { timeout: 180_000 }, async () => {
    const server = await start(new MemoryEngine(answers));
    const { page, wrong } = await openPage(server, { viewport: { width: 1280, height: 800 } });
    await shows(page, 'empty', /Ask something/);
    await ask(page, 'think');
    await answered(
      page,
      /You said: think[^]*5 tokens · 2\.0 tokens\/s · 9 prompt tokens read before · 2 of/,
    );
    await shows(page, 'announce', /^Answered$/);
    const thinking = page.getByText('Let me see what');
    expect(await thinking.isVisible()).toBe(false);
    await page.getByText('Thought').click();
    expect(await thinking.isVisible()).toBe(true);
    await page.getByRole('button', { name: 'New conversation' }).click();
    expect(await turns(page)).toBe(0);
    await ask(page, 'a second matter');
    await answered(page, /You said: a second matter/);
    await page.reload();
    await page.getByRole('button', { name: 'think', exact: true }).click();
    await answered(page, /You said: think/);
    page.once('dialog', (dialog) => void dialog.accept());
    await page.getByRole('button', { name: 'Delete think' }).click();
    await shows(page, 'conversations', /^a second matter\s*×$/);
    expect(wrong).toEqual([]);
  });

  it('stops, edits and asks again', { timeout: 180_000 }, async () => {
    const engine = new MemoryEngine(answers);
    const server = await start(engine);
    const { page, wrong } = await openPage(server);
    await ask(page, 'for ever');
    await answered(page, /It goes on/);
    await page.getByRole('button', { name: 'Stop' }).click();
    await answered(page, /stopped/);
    await page.getByRole('button', { name: 'Edit and send again' }).click();
    await page.getByLabel('Your message').fill('something short');
    await page.keyboard.press('Enter');
    await answered(page, /You said: something short/);
    expect(await turns(page)).toBe(2);
    await page.getByRole('button', { name: 'Ask for another answer' }).click();
    await expect.poll(() => engine.requests.length, { timeout: PATIENCE }).toBe(3);
    await answered(page, /You said: something short/);
    await ask(page, 'and then');
    await answered(page, /You said: and then/);
    const last = engine.requests.at(-1)?.messages.map(({ role, content }) => [role, content]);
    expect(last).toEqual([
      ['user', 'something short'],
      ['assistant', 'You said: something short'],
      ['user', 'and then'],
    ]);
    // Escape stops, too; a question that got no word comes back to be typed again.
    await ask(page, 'for ever');
    await expect.poll(() => page.getByText('It goes on').count(), { timeout: PATIENCE }).toBe(1);
    await page.keyboard.press('Escape');
    await answered(page, /stopped/);
    expect(wrong).toEqual([]);
  });

  it('says in a line what the chosen model is good for', { timeout: 180_000 }, async () => {
    const about = 'chat and code; context 1,000 tokens';
    const model = { id: 'org/test-model', quant: '4bit', bytes: 1, since: 0, about };
    const server = await start(new MemoryEngine(answers), {
      installed: () => Promise.resolve([model]),
    });
    const { page } = await openPage(server);
    await shows(page, 'about', /^chat and code; context 1,000 tokens$/);
  });

  it('says how far the prompt is read', { timeout: 180_000 }, async () => {
    const gate = new Gate();
    const server = await start(
      new MemoryEngine(async function* () {
        yield { type: 'prefill', done: 0, total: 2000 };
        await new Promise((resolve) => setTimeout(resolve, 200));
        yield { type: 'prefill', done: 500, total: 2000 };
        await gate.opened;
        yield said('done');
        yield finish();
      }),
    );
    const { page } = await openPage(server);
    await ask(page, 'a long text');
    await answered(page, /500 of 2,000 prompt tokens read, less than a minute left/);
    expect(await page.locator('#log progress').getAttribute('value')).toBe('0.25');
    await picture(page, 'chat-reading');
    gate.open();
    await answered(page, /done/);
  });

  it('sends what was chosen, and refuses what is out of bounds', { timeout: 180_000 }, async () => {
    const engine = new MemoryEngine(answers);
    const { page } = await openPage(await start(engine));
    await page.getByText('Settings').click();
    await page.getByLabel('System message').fill('Be brief');
    await page.getByLabel('Thinking').selectOption('off');
    await page.getByLabel('Temperature').fill('9');
    await ask(page, 'hello');
    expect(await turns(page)).toBe(0);
    await page.getByLabel('Temperature').fill('0.5');
    await page.getByLabel('Most tokens').fill('40');
    await page.reload();
    await ask(page, 'hello');
    await answered(page, /You said: hello/);
    const [request] = engine.requests;
    expect(request?.messages[0]).toMatchObject({ role: 'system', content: 'Be brief' });
    expect(request?.sampling).toMatchObject({ temperature: 0.5 });
    expect(request?.maxTokens).toBe(40);
    expect(engine.requests).toHaveLength(1);
  });

  it(
    'makes neither HTML nor pictures nor scripts of what a model says',
    { timeout: 180_000 },
    async () => {
      const server = await start(new MemoryEngine(answers));
      const { page, wrong } = await openPage(server);
      await ask(page, 'hostile');
      await answered(page, /5 tokens/);
      await answered(page, /<img src=[^]*<script>[^]*picture: a picture[^]*<b>bold\?<\/b>/);
      expect(await page.locator('#log img, #log script, #log iframe, #log b').count()).toBe(0);
      const links = await page.evaluate(
        "[...document.querySelectorAll('#log a')].map(({ href }) => href)",
      );
      expect(links).toEqual(['https://evil.example/pixel.png']);
      expect(await page.locator('#log a').first().getAttribute('rel')).toBe('noopener noreferrer');
      expect(await page.evaluate('window.hurt')).toBeUndefined();
      await ask(page, 'deep');
      await answered(page, /> > > deep/);
      expect(wrong).toEqual([]);
    },
  );

  it('copies a block of code', { timeout: 180_000 }, async () => {
    const server = await start(new MemoryEngine(answers));
    const permissions = ['clipboard-read', 'clipboard-write'];
    const { page } = await openPage(server, { permissions });
    await ask(page, 'rich');
    await answered(page, /5 tokens/);
    await page.getByRole('button', { name: 'Copy code (ts)' }).click();
    await answered(page, /Copied/);
    expect(await page.evaluate('navigator.clipboard.readText()')).toMatch(
      /^const answer: number = 6 \* 7;/,
    );
  });

  it('keeps the key out of addresses, and asks for it', { timeout: 180_000 }, async () => {
    const server = await start(new MemoryEngine(answers), { apiKey: 'secret' });
    const { page } = await openPage(server);
    const asked: string[] = [];
    page.on('request', (request) => asked.push(request.url()));
    await shows(page, 'state', /^locked$/);
    await ask(page, 'hello');
    await shows(page, 'failure', /an API key is needed/);
    expect(await page.getByLabel('Message', { exact: true }).inputValue()).toBe('hello');
    await page.getByLabel(/asks for its API key/).fill('secret');
    await page.keyboard.press('Enter');
    await shows(page, 'state', /^ready$/);
    await page.getByLabel('Message', { exact: true }).press('Enter');
    await answered(page, /You said: hello/);
    expect(asked.join(' ') + page.url()).not.toContain('secret');
  });

  it(
    'says what the server refuses, and gives the question back',
    { timeout: 180_000 },
    async () => {
      const { page } = await openPage(await start(new MemoryEngine(answers)));
      await ask(page, 'refuse');
      await shows(page, 'failure', /the template refuses: no/);
      expect(await page.getByLabel('Message', { exact: true }).inputValue()).toBe('refuse');
      expect(await turns(page)).toBe(0);
    },
  );

  it.each([
    ['wide', { viewport: { width: 1280, height: 900 } }],
    ['wide-dark', { colorScheme: 'dark', viewport: { width: 1280, height: 900 } }],
    ['phone', { viewport: { width: 390, height: 844 } }],
    ['phone-dark', { colorScheme: 'dark', viewport: { width: 390, height: 844 } }],
  ] as [string, BrowserContextOptions][])(
    'has room, contrast and names for everything (%s)',
    { timeout: 180_000 },
    async (name, options) => {
      const { page, wrong } = await openPage(await start(new MemoryEngine(answers)), options);
      await picture(page, `chat-empty-${name}`);
      await ask(page, 'think');
      await answered(page, /You said: think/);
      await ask(page, 'rich');
      await answered(page, /a quotation[^]*5 tokens/);
      await page.getByText('Settings').click();
      await picture(page, `chat-${name}`);
      for (const each of ['overflowing', 'faint', 'nameless']) {
        expect(await check(page, each), each).toEqual([]);
      }
      expect(wrong).toEqual([]);
    },
  );

  it('can be used by keyboard alone', { timeout: 180_000 }, async () => {
    const { page } = await openPage(await start(new MemoryEngine(answers)), {
      viewport: { width: 1280, height: 900 },
    });
    await shows(page, 'state', /^ready$/);
    const stops: unknown[] = [];
    for (let i = 0; i < 8 && stops.at(-1) !== 'message'; i++) {
      await page.keyboard.press('Tab');
      stops.push(await page.evaluate('document.activeElement.id'));
    }
    expect(stops.at(-1)).toBe('message');
    await page.keyboard.type('hello');
    await page.keyboard.press('Shift+Enter');
    await page.keyboard.type('there');
    await page.keyboard.press('Enter');
    await answered(page, /You said: hello\s+there/);
    expect(await page.evaluate('document.activeElement.id')).toBe('message');
  });
});
