// The conversation as people have it: on a real terminal, on a pipe, and with a running server. With the bundled model.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BUILD_MS, buildCli, flashmoe, mainScript } from '../helpers/built-cli.js';
import { openTerminal, tmuxMissing } from '../helpers/tmux.js';

const missing = tmuxMissing();
if (missing !== null) console.log(missing);

const home = mkdtempSync(join(tmpdir(), 'flashmoe-chat-home-'));
const env = { FLASHMOE_HOME: home };
/** Where a settings file says the server is; nobody listens there unless a test starts one. */
let port: number;

beforeAll(async () => {
  await buildCli();
  const setup = await flashmoe(['setup', 'tiny', '--yes', '--no-service'], { env });
  expect(setup.status, setup.stderr).toBe(0);
  port = 20_000 + (process.pid % 30_000);
  const config = await flashmoe(['config', 'set', 'port', String(port)], { env });
  expect(config.status, config.stderr).toBe(0);
}, BUILD_MS + 300_000);
afterAll(() => rmSync(home, { recursive: true, force: true }));

const LONG = 120_000;

describe.skipIf(missing !== null)('flashmoe chat on a terminal', () => {
  test.each([
    [60, 15, {}],
    [80, 24, { NO_COLOR: '1' }],
    [120, 40, {}],
  ])(
    'answers, explains itself and leaves at %i by %i',
    async (columns, rows, more) => {
      const command = [process.execPath, mainScript, 'chat', '--temperature', '0'];
      const at = openTerminal(command, { columns, rows }, { ...env, ...more });
      try {
        await at.until((screen) => screen.includes('ask something'));
        at.press('-l', 'What is 347 + 285?');
        at.press('Enter');
        await at.until((screen) => /^632$/m.test(screen) && screen.includes('tokens/s'));
        expect(at.screen().every((line) => line.length <= columns)).toBe(true);
        at.press('-l', '/thikn');
        at.press('Enter');
        await at.until((screen) => screen.includes('did you mean /think?'));
        // Two lines, and then neither: Ctrl-C clears what is written before it leaves.
        at.press('-l', 'one');
        at.press('C-j');
        at.press('-l', 'two');
        await at.until((screen) => /› one\n +two/.test(screen));
        at.press('C-c');
        await at.until((screen) => !screen.includes('two'));
        at.press('C-c');
        await at.until((screen) => screen.includes('exit: 0'));
        expect(at.cursorVisible()).toBe(true);
        expect(at.history()).toContain('632');
      } finally {
        at.close();
      }
    },
    LONG,
  );

  test(
    'a window that changes its size many times shows the conversation, one line to write in and one status',
    async () => {
      const at = openTerminal(
        [process.execPath, mainScript, 'chat', '--temperature', '0'],
        { columns: 120, rows: 40 },
        env,
      );
      try {
        await at.until((screen) => screen.includes('ask something'));
        at.press('-l', 'What is 347 + 285?');
        at.press('Enter');
        await at.until((screen) => /^632$/m.test(screen) && screen.includes('tokens/s'));
        at.press('-l', '/help');
        at.press('Enter');
        await at.until((screen) => screen.includes('stops the answer'));
        at.press('-l', 'a line that is not sent');
        const sizes = [
          { columns: 60, rows: 15 },
          { columns: 80, rows: 24 },
          { columns: 120, rows: 40 },
        ];
        for (let round = 0; round < 4; round++) {
          for (const size of sizes) {
            at.resize(size);
            await at.until((screen) => {
              const count = (text: string): number => screen.split(text).length - 1;
              const isWhole = count('a line that is not sent') === 1 && count('tokens/s') === 1;
              // The largest window has room for all that was said.
              const said = count('What is 347 + 285?') === 1 && count('/experts [N|auto]') === 1;
              return isWhole && (size.rows < 40 || said);
            }, 5);
          }
        }
        expect(at.history()).toContain('632');
      } finally {
        at.close();
      }
    },
    LONG,
  );

  test(
    'what is typed before the model is loaded is answered when it is',
    async () => {
      const command = [process.execPath, mainScript, 'chat', '--temperature', '0'];
      const at = openTerminal(command, { columns: 80, rows: 24 }, env);
      try {
        at.press('-l', 'What is 347 + 285?');
        at.press('Enter');
        await at.until((screen) => /^632$/m.test(screen) && screen.includes('tokens/s'));
      } finally {
        at.close();
      }
    },
    LONG,
  );

  test(
    'run without a prompt is a conversation, too',
    async () => {
      const at = openTerminal(
        [process.execPath, mainScript, 'run'],
        { columns: 80, rows: 24 },
        env,
      );
      try {
        await at.until((screen) => screen.includes('ask something'));
        at.press('C-d');
        await at.until((screen) => screen.includes('exit: 0'));
      } finally {
        at.close();
      }
    },
    LONG,
  );
});

/** A line a message; what is printed, and what is noted. */
function piped(
  lines: string,
  ...args: string[]
): Promise<{ stdout: string; stderr: string; status: number | null }> {
  return new Promise((done) => {
    const child = spawn(process.execPath, [mainScript, 'chat', '--temperature', '0', ...args], {
      env: { ...process.env, ...env },
      cwd: home,
    });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk) => (stdout += String(chunk)));
    child.stderr.on('data', (chunk) => (stderr += String(chunk)));
    child.on('close', (status) => done({ stdout, stderr, status }));
    child.stdin.end(lines);
  });
}

test(
  'on a pipe a line is a message, and only answers are printed',
  async () => {
    writeFileSync(join(home, 'numbers.txt'), 'What is 347 + 285?');
    const { stdout, stderr, status } = await piped(
      'What is 347 + 285?\n/model\n/quit\nnever asked\n',
    );
    expect({ stdout, status }).toEqual({ stdout: '632\n', status: 0 });
    expect(stderr).toContain('tiny (answers now)');
  },
  LONG,
);

test(
  'the running server answers where there is one, and without it an engine of its own',
  async () => {
    const server = spawn(process.execPath, [mainScript, 'serve'], {
      env: { ...process.env, ...env },
    });
    try {
      await new Promise<void>((ready, fail) => {
        let said = '';
        server.stderr.on('data', (chunk) => {
          said += String(chunk);
          if (said.includes('ready')) ready();
        });
        server.on('close', () => fail(new Error(said)));
      });
      const { stdout } = await piped('What is 347 + 285?\nAnd 100 + 11?\n', '--json');
      const lines = stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as Record<string, unknown>);
      expect(lines).toContainEqual(
        expect.objectContaining({ event: 'entry', type: 'answer', text: '632' }),
      );
      const served = await fetch(`http://127.0.0.1:${port}/metrics`).then((answer) =>
        answer.text(),
      );
      expect(served).toMatch(/chat\/completions/);
    } finally {
      server.kill('SIGTERM');
    }
  },
  LONG,
);

test(
  'the words people type first do what they mean',
  async () => {
    const [list, ls, status] = await Promise.all([
      flashmoe(['list'], { env }),
      flashmoe(['ls'], { env }),
      flashmoe(['status'], { env }),
    ]);
    // All but the free bytes of the first line.
    const table = (text: string): string => text.split('\n').slice(1).join('\n');
    expect(table(list.stdout)).toBe(table(status.stdout));
    expect(table(ls.stdout)).toBe(table(status.stdout));
    const shown = await flashmoe(['show', 'tiny', '--json'], { env });
    expect(JSON.parse(shown.stdout)).toMatchObject({
      event: 'model',
      id: 'tiny',
      state: 'ready',
      quant: '4bit',
    });
    const nobody = await flashmoe(['ps'], { env });
    expect(nobody.status).toBe(69);
    expect(nobody.stderr).toContain(`no flashmoe server answers at 127.0.0.1:${port}`);
    expect((await flashmoe(['version'])).stdout).toBe((await flashmoe(['--version'])).stdout);
    expect((await flashmoe(['help', 'run'])).stdout).toContain('Usage: flashmoe run');
  },
  LONG,
);
