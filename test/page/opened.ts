// The page of a server in a browser that all tests of a file share, and what is asked of it.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, expect } from 'vitest';
import type { Started } from '../server/running.js';
import { hasBrowser, openBrowser } from './browser.js';

export const PATIENCE = 60_000;

let browser: Browser;
const pages: Page[] = [];

beforeAll(async () => {
  if (hasBrowser) browser = await openBrowser();
}, 180_000);
afterAll(async () => {
  if (hasBrowser) await browser.close();
});
afterEach(async () => {
  await Promise.all(pages.splice(0).map((page) => page.context().close()));
});

/** Open, and what went wrong in it: errors of its scripts, requests to anywhere else, blocked contents. */
export async function openPage(
  { url }: Pick<Started, 'url'>,
  options: BrowserContextOptions = {},
  view = '',
): Promise<{ page: Page; wrong: string[] }> {
  const page = await (await browser.newContext(options)).newPage();
  page.setDefaultTimeout(PATIENCE);
  pages.push(page);
  const wrong: string[] = [];
  page.on('pageerror', (error) => wrong.push(error.message));
  page.on('console', (message) => {
    if (message.type() === 'error') wrong.push(message.text());
  });
  page.on('request', (request) => {
    if (!request.url().startsWith(url)) wrong.push(`asks ${request.url()}`);
  });
  await page.goto(`${url}/${view}`);
  return { page, wrong };
}

export const shows = async (page: Page, id: string, text: RegExp): Promise<void> => {
  await expect.poll(() => page.locator(`#${id}`).innerText(), { timeout: PATIENCE }).toMatch(text);
};

const CHECKS = readFileSync(new URL('./checks.js', import.meta.url), 'utf8');

/** What one of checks.js finds wrong. */
export const check = async (page: Page, name: string): Promise<unknown> =>
  await page.evaluate(`(() => { ${CHECKS}; return checks.${name}(); })()`);

export async function picture(page: Page, name: string): Promise<void> {
  const folder = process.env['SCREENSHOTS'] ?? '';
  if (folder !== '') await page.screenshot({ path: join(folder, `${name}.png`), fullPage: true });
}
