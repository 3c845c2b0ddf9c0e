// A plain run says what it is at, also while nothing moves: a hub that sends nothing for a while, hours that have not come.

import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { BUILD_MS, buildCli, mainScript, projectRoot } from '../helpers/built-cli.js';
import { FaultHub } from '../helpers/hub/fault-hub.js';

let home = '';
beforeAll(async () => {
  await buildCli();
  home = await mkdtemp(join(tmpdir(), 'flashmoe-plain-'));
}, BUILD_MS);
afterAll(() => rm(home, { recursive: true }));

/** Lines of stderr until one matches. */
async function linesUntil(
  args: string[],
  env: Record<string, string>,
  last: RegExp,
): Promise<string[]> {
  const child = spawn(process.execPath, [mainScript, ...args], {
    env: { ...process.env, FLASHMOE_HOME: home, HF_TOKEN: '', ...env },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let text = '';
  child.stderr.setEncoding('utf8').on('data', (more: string) => (text += more));
  try {
    await vi.waitFor(() => expect(text).toMatch(last), { timeout: 60_000, interval: 100 });
  } finally {
    const ended = new Promise((resolve) => child.on('close', resolve));
    child.kill('SIGINT');
    await ended;
  }
  return text.split('\n');
}

/** The longest time between two lines. */
function secondsBetween(lines: readonly string[]): number {
  const at = lines.flatMap((line) => {
    const [, hour, minute, second] = /^(\d\d):(\d\d):(\d\d) /.exec(line) ?? [];
    return hour === undefined ? [] : [Number(hour) * 3600 + Number(minute) * 60 + Number(second)];
  });
  return Math.max(...at.slice(1).map((time, i) => (time - (at[i] ?? 0) + 86_400) % 86_400));
}

it(
  'says a line every ten seconds while the hub sends nothing, and while its hours have not come',
  { timeout: 120_000 },
  async () => {
    const hub = await FaultHub.start(join(projectRoot, 'models/tiny'), 'acme/tiny');
    const setup = ['setup', '--repo', 'acme/tiny', '--yes', '--no-service'];
    const env = { HF_ENDPOINT: hub.endpoint };
    try {
      const held: (() => void)[] = [];
      hub.rule({ on: 'cdn', fault: ({ send }) => void held.push(send) });
      const silent = await linesUntil(setup, env, /plan: going on/);
      expect(secondsBetween(silent)).toBeLessThanOrEqual(12);
      hub.reset();
      const hour = (plus: number): string =>
        `${String((new Date().getHours() + plus) % 24).padStart(2, '0')}:00`;
      const waiting = [...setup, '--hours', `${hour(2)}-${hour(3)}`];
      const lines = await linesUntil(waiting, env, /waiting: .*; for 1[0-9] s now/);
      expect(lines.some((line) => /waiting: .*next try .*; for 1\d s now$/.test(line))).toBe(true);
    } finally {
      await hub.close();
    }
  },
);
