// The figures of the page at `/` in a real browser, on a real server. Set SCREENSHOTS to a folder to look at it.

import type { BrowserContextOptions } from 'playwright-core';
import { describe, expect, it } from 'vitest';
import { aborted, finish, MemoryEngine, said, type Script } from '../server/memory-engine.js';
import { start, type Started } from '../server/running.js';
import { hasBrowser } from './browser.js';
import { check, openPage, picture, shows } from './opened.js';

const HELLO = { messages: [{ role: 'user', content: 'hello' }] };
const open = (server: Started, options?: BrowserContextOptions) =>
  openPage(server, options, '#figures');

const model = {
  denseBytes: 9_300_000_000,
  quant: '4bit',
  contextLength: 262_144,
  backend: 'metal',
};
function engine(script: Script): MemoryEngine {
  const made = new MemoryEngine(script);
  Object.assign(made.model, model, { expertsPerToken: 10, isa: '' });
  Object.assign(made, { experts: () => ({ held: 6144, bytes: 43_500_000_000 }) });
  return made;
}

/** Two whole answers, then one that goes on until it is cancelled. */
function busy(): MemoryEngine {
  let asked = 0;
  return engine(async function* (_, signal) {
    const last = ++asked > 2;
    yield { type: 'prefill', done: 512, total: 2048 };
    yield { type: 'prefill', done: 2048, total: 2048 };
    for (let done = 1; done <= 12; done++) {
      yield { type: 'decode', done };
      yield said('word ');
      await new Promise((resolve) => setTimeout(resolve, last ? 20 : 5));
    }
    if (last) await aborted(signal);
    const end = finish() as Extract<ReturnType<typeof finish>, { type: 'finish' }>;
    const usage = { promptTokens: 2048, cachedTokens: 1536, completionTokens: 12 };
    end.usage = { ...usage, reasoningTokens: 0 };
    end.timings.expertBytesRead = 51_200_000_000;
    end.timings.experts = { uses: 4800, hits: 4080, waits: 30, bytes: 60_000_000_000 };
    yield end;
  });
}

/** `busy`, at its third answer with two that wait. */
async function busyServer(): Promise<Started & { leave: () => void }> {
  const gone = new AbortController();
  const server = await start(busy(), {
    memory: () => ({ process: 12_800_000_000, machine: 51_539_607_552 }),
  });
  await (await server.post(HELLO)).json();
  await (await server.post(HELLO)).json();
  for (let i = 0; i < 3; i++) {
    void server.post(HELLO, { signal: gone.signal }).catch(() => undefined);
  }
  return { ...server, leave: () => gone.abort() };
}

describe.skipIf(!hasBrowser)('the page', () => {
  it('shows what is loaded, answered, waiting, read and kept', { timeout: 180_000 }, async () => {
    const server = await busyServer();
    const { page, wrong } = await open(server, { viewport: { width: 1200, height: 900 } });
    await shows(page, 'state', /^answering$/);
    await shows(page, 'model', /^org\/test-model$/);
    await shows(page, 'model-facts', /4bit, 10 per token[^]*262,144 tokens[^]*9\.30 GB/);
    await shows(page, 'waiting', /^2$/);
    await shows(page, 'doing', /^12 tokens so far$/);
    await shows(page, 'bytes', /^102 GB$/);
    await shows(page, 'hits', /^75$/);
    await shows(page, 'memory', /^12\.8 GB$/);
    await shows(page, 'memory-words', /of 51\.5 GB/);
    await shows(page, 'tokens', /^36$/);
    await shows(page, 'expert-hits', /^85$/);
    await shows(page, 'experts-words', /^6,144 in 43\.5 GB, 1\.7 waits a token$/);
    expect(Number(await page.locator('#rate').innerText())).toBeGreaterThan(0);
    expect(await page.locator('#chart rect:not(.none)').count()).toBeGreaterThan(0);
    await page.fill('#price-in', '3');
    await page.fill('#price-out', '15');
    await picture(page, 'light');
    server.leave();
    await shows(page, 'state', /^ready$/);
    await shows(page, 'waiting', /^0$/);
    expect(wrong).toEqual([]);
  });

  it('counts the money, and keeps the prices in this browser', { timeout: 180_000 }, async () => {
    const server = await start(busy());
    await (await server.post(HELLO)).json();
    const { page } = await open(server);
    await shows(page, 'tokens', /^12$/);
    await shows(page, 'saved', /^–$/);
    await page.getByLabel('Prompt', { exact: true }).fill('3');
    await page.getByLabel('Answer', { exact: true }).fill('15');
    // 2048 tokens at 3, 12 at 15, a million each
    await shows(page, 'saved', /0\.0063/);
    await page.getByLabel('Currency').fill('eur');
    await page.reload();
    await shows(page, 'saved', /€0\.0063|0\.0063 €/);
  });

  it.each([
    ['dark', { colorScheme: 'dark', viewport: { width: 1200, height: 900 } }],
    ['narrow', { viewport: { width: 380, height: 800 } }],
    ['narrow-dark', { colorScheme: 'dark', viewport: { width: 380, height: 800 } }],
  ] as [string, BrowserContextOptions][])(
    'has room for everything, and contrast (%s)',
    { timeout: 180_000 },
    async (name, options) => {
      const server = await busyServer();
      const { page, wrong } = await open(server, options);
      await shows(page, 'state', /^answering$/);
      await shows(page, 'hits', /^75$/);
      await picture(page, name);
      expect(await check(page, 'overflowing')).toEqual([]);
      expect(await check(page, 'faint')).toEqual([]);
      expect(wrong).toEqual([]);
    },
  );

  it('can be used by keyboard and read aloud', { timeout: 180_000 }, async () => {
    const { page } = await open(await start(busy()));
    await shows(page, 'state', /^ready$/);
    expect(await check(page, 'nameless')).toEqual([]);
    expect(await page.getAttribute('html', 'lang')).toBe('en');
    expect(await page.getByRole('heading', { level: 1 }).count()).toBe(1);
    const stops = [];
    for (let i = 0; i < 2; i++) {
      await page.keyboard.press('Tab');
      stops.push(await page.evaluate('document.activeElement.id'));
    }
    expect(stops).toEqual(['price-in', 'price-out']);
  });

  it('says when the server is gone, and comes back with it', { timeout: 180_000 }, async () => {
    const server = await start(busy());
    const { page } = await open(server);
    await shows(page, 'state', /^ready$/);
    await server.close(0);
    await shows(page, 'state', /not reachable/);
    await shows(page, 'lost', /does not answer/);
    await start(busy(), { port: server.port });
    await shows(page, 'state', /^ready$/);
    expect(await page.locator('#lost').isHidden()).toBe(true);
  });

  it('asks for the key of a server that has one', { timeout: 180_000 }, async () => {
    const server = await start(busy(), { apiKey: 'secret' });
    const { page } = await open(server);
    await shows(page, 'state', /^locked$/);
    await page.getByLabel(/asks for its API key/).fill('secret');
    await page.keyboard.press('Enter');
    await shows(page, 'state', /^ready$/);
    expect(page.url()).toBe(`${server.url}/#figures`);
  });
});

describe('the files of the page', () => {
  it('may load and be framed by nothing else', async () => {
    const server = await start(busy());
    for (const path of [
      '/',
      '/page/page.js',
      '/page/marked.js',
      '/page/page.css',
      '/page/icon.svg',
    ]) {
      const { status, headers } = await server.get(path);
      expect(status).toBe(200);
      const policy = headers.get('content-security-policy') ?? '';
      expect(policy).toMatch(/^default-src 'none'/);
      expect(policy).toMatch(/frame-ancestors 'none'/);
      expect(policy).not.toMatch(/unsafe|\*|https?:/);
      expect(headers.get('x-content-type-options')).toBe('nosniff');
    }
    expect((await server.get('/', { method: 'HEAD' })).status).toBe(200);
    expect((await server.get('/page/other.js')).status).toBe(404);
  });

  it('tell figures to nobody without the key', async () => {
    const server = await start(busy(), { apiKey: 'secret' });
    expect((await server.get('/')).status).toBe(200);
    expect((await server.get('/status')).status).toBe(401);
  });
});
