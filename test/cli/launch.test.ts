// flashmoe launch with a program in the client's place that says what it was started with; the clients themselves are
// tried by hand (docs/clients.md).

import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { BUILD_MS, buildCli, flashmoe, type CliResult } from '../helpers/built-cli.js';
import { finish, MemoryEngine, says } from '../server/memory-engine.js';
import { start, type Started } from '../server/running.js';

beforeAll(buildCli, BUILD_MS);

const KEY = 'secret-of-this-test';
/** Says its arguments, what it has of ours in its environment, and the files that those name. */
const STAND_IN = `#!${process.execPath}
const { existsSync, readFileSync, readdirSync } = require('node:fs');
const args = process.argv.slice(2);
const texts = args.flatMap((one) => one.match(/\\/[^"\\s]*flashmoe-launch-[^"\\s]+/g) ?? []);
const files = Object.fromEntries(texts.map((path) => [path, existsSync(path) ? readFileSync(path, 'utf8') : null]));
const env = Object.entries(process.env).filter(([name]) => /ANTHROPIC|CLAUDE|OPENAI|OPENCODE|FLASHMOE_API/.test(name));
console.log(JSON.stringify({ args, env: Object.fromEntries(env), files }));
process.exit(7);
`;

let home: string;
let server: Started;
beforeEach(async () => {
  home = mkdtempSync(join(tmpdir(), 'flashmoe-launch-test-'));
  mkdirSync(join(home, 'bin'));
  for (const name of ['claude', 'codex', 'opencode', 'cn', 'qwen', 'pi']) {
    writeFileSync(join(home, 'bin', name), STAND_IN);
    chmodSync(join(home, 'bin', name), 0o755);
  }
  server = await start(new MemoryEngine(says(finish())));
});
afterEach(() => rmSync(home, { recursive: true }));

const launch = (port: string, ...args: string[]): Promise<CliResult> =>
  flashmoe(['launch', '--port', port, ...args], {
    env: {
      HOME: home,
      PATH: join(home, 'bin'),
      FLASHMOE_HOME: join(home, 'models'),
      FLASHMOE_API_KEY: KEY,
    },
  });

interface Told {
  args: string[];
  env: Record<string, string>;
  files: Record<string, string | null>;
}

describe('flashmoe launch', () => {
  it.each([
    ['claude-code', 'ANTHROPIC_AUTH_TOKEN'],
    ['codex', 'FLASHMOE_API_KEY'],
    ['opencode', 'FLASHMOE_API_KEY'],
    ['continue', 'FLASHMOE_API_KEY'],
    ['qwen-code', 'OPENAI_API_KEY'],
    ['pi', 'FLASHMOE_API_KEY'],
  ])(
    'starts %s with the server and its model, the key in the environment only, its words last',
    async (client, variable) => {
      const port = new URL(server.url).port;
      const { status, stdout, stderr } = await launch(port, client, '--', 'say', '--ok');
      expect(status, stderr).toBe(7);
      const { args, env, files } = JSON.parse(stdout) as Told;
      expect(env[variable]).toBe(KEY);
      expect(args.slice(-2)).toEqual(['say', '--ok']);
      const told = JSON.stringify([args, Object.values(files)]);
      expect(told).not.toContain(KEY);
      const all = told + JSON.stringify(env);
      expect(all).toContain(server.url);
      expect(all).toContain('org/test-model');
      // What it was given is gone with it, and nothing was written in the home.
      for (const [path, text] of Object.entries(files)) {
        expect(text, path).not.toBeNull();
        expect(existsSync(path)).toBe(false);
      }
      for (const folder of ['.claude', '.codex', '.config', '.continue', '.qwen', '.pi']) {
        expect(existsSync(join(home, folder))).toBe(false);
      }
    },
  );

  it('says what installs a client that is not there, and which command starts the server', async () => {
    const port = new URL(server.url).port;
    rmSync(join(home, 'bin', 'codex'));
    const absent = await launch(port, 'codex');
    expect(absent.status).toBe(64);
    expect(absent.stderr).toContain('npm install -g @openai/codex');
    await server.close(0);
    const nobody = await launch(port, '--model', 'tiny', 'pi');
    expect(nobody.status).not.toBe(0);
    expect(nobody.stdout).toBe('');
  });
});
