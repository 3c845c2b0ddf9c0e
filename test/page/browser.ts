// Debian's Chromium, driven by playwright-core. Where it is missing, tests say SKIP and why.

import { existsSync } from 'node:fs';
import { chromium, type Browser } from 'playwright-core';

const PATHS = [
  process.env['CHROMIUM'] ?? '',
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
];
const executablePath = PATHS.find((path) => path !== '' && existsSync(path));

export const hasBrowser = executablePath !== undefined;
if (!hasBrowser) console.log('SKIP the page in a browser: no chromium here (apt install chromium)');

/** With a fresh profile, and nothing that asks the network on its own. */
export async function openBrowser(): Promise<Browser> {
  if (executablePath === undefined) throw new Error('no chromium');
  return await chromium.launch({
    executablePath,
    headless: true,
    timeout: 120_000,
    args: [
      ...['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'],
      ...['--disable-background-networking', '--disable-component-update', '--disable-sync'],
    ],
  });
}
