// `make media`: docs/media/, the recordings of the README: a setup of the bundled model and a conversation with it, both real, in tmux.
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Recording } from './media/record.mjs';
import { renderSvg } from './media/svg.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const media = join(root, 'docs', 'media');
const SIZE = { columns: 84, rows: 24 };
const MOST_BYTES = 1_000_000;

try {
  execFileSync('tmux', ['-V'], { stdio: 'pipe' });
} catch {
  console.error('make media needs tmux: apt install tmux, or brew install tmux');
  process.exit(1);
}
mkdirSync(media, { recursive: true });
const home = mkdtempSync(join(tmpdir(), 'home-'));
const bin = join(home, 'bin');
mkdirSync(bin);
const command = join(bin, 'flashmoe');
writeFileSync(
  command,
  `#!/bin/sh\nexec ${process.execPath} ${join(root, 'dist/cli/main.js')} "$@"\n`,
);
chmodSync(command, 0o755);
const env = {
  HOME: home,
  PATH: `${bin}:${process.env.PATH}`,
  PS1: '$ ',
  HISTFILE: '/dev/null',
  HF_HUB_OFFLINE: '1',
};

const setup = new Recording(SIZE, env);
await setup.until(/\$/);
await setup.type('flashmoe setup');
await setup.until(/enter continue/);
await pause(1200);
await setup.press('Enter');
await setup.until(/MODEL/);
await pause(800);
await setup.press(...Array(8).fill('Up'));
await pause(1200);
await setup.press('Enter');
await setup.until(/perplexity/);
await pause(1200);
await setup.press('Enter');
await setup.until(/agree and begin/);
await pause(1500);
await setup.press('Enter');
await setup.until(/next: flashmoe run/);
await setup.end(join(media, 'setup.cast'), 'flashmoe setup: from the machine to judged answers');

const chat = new Recording(SIZE, env);
await chat.until(/\$/);
await chat.type('flashmoe chat');
await chat.until(/this process, \/help/);
await pause(1500);
await chat.type('What is 34 + 92?');
await chat.until(/126/);
await pause(1200);
await chat.type('Who are you?');
await chat.until(/JSON and call tools/);
await pause(1200);
await chat.type('/help');
await pause(1500);
await chat.type('/quit');
await chat.until(/\n\$/);
await chat.end(join(media, 'chat.cast'), 'flashmoe chat: a conversation in a terminal');

for (const name of ['setup', 'chat']) {
  const svg = join(media, `${name}.svg`);
  renderSvg(join(media, `${name}.cast`), svg);
  const { size } = statSync(svg);
  if (size > MOST_BYTES) throw new Error(`${svg} has ${size} bytes, more than ${MOST_BYTES}`);
  console.log(`docs/media/${name}.svg: ${size} bytes`);
}

rmSync(home, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 });

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
