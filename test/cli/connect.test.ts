import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { BUILD_MS, buildCli, flashmoe, type CliResult } from '../helpers/built-cli.js';
import { finish, MemoryEngine, says } from '../server/memory-engine.js';
import { start, type Started } from '../server/running.js';

beforeAll(buildCli, BUILD_MS);

let home: string;
let server: Started;
beforeEach(async () => {
  home = mkdtempSync(join(tmpdir(), 'flashmoe-connect-'));
  server = await start(new MemoryEngine(says(finish())));
});
afterEach(() => {
  rmSync(home, { recursive: true });
});

const connect = (...args: string[]): Promise<CliResult> =>
  flashmoe(['connect', ...args, '--port', new URL(server.url).port], {
    env: {
      HOME: home,
      FLASHMOE_HOME: join(home, 'models'),
      FLASHMOE_API_KEY: 'secret-of-this-test',
    },
  });
const opencode = (): string => join(home, '.config/opencode/opencode.json');

describe('flashmoe connect', () => {
  it('writes what the running server says of itself, keeps what was there, and names both files', async () => {
    mkdirSync(dirname(opencode()), { recursive: true });
    writeFileSync(opencode(), '{"theme": "mine"}\n');
    const { status, stdout } = await connect('opencode');
    expect(status).toBe(0);
    expect(stdout).toContain(`wrote ${opencode()}`);
    const [backup = ''] = /(?<=before: ).*/.exec(stdout) ?? [];
    expect(readFileSync(backup, 'utf8')).toBe('{"theme": "mine"}\n');
    const text = readFileSync(opencode(), 'utf8');
    expect(JSON.parse(text)).toMatchObject({ theme: 'mine' });
    expect(text).toContain(`${server.url}/v1`);
    expect(text).toContain('org/test-model');
    expect(text).not.toContain('secret-of-this-test');
  });

  it('--json gives path, backup and settings in one line, and the second time says that nothing changed', async () => {
    const [first, second] = [
      await connect('opencode', '--json'),
      await connect('opencode', '--json'),
    ];
    const result = (run: CliResult) => JSON.parse(run.stdout) as Record<string, unknown>;
    const facts = { client: 'opencode', path: opencode(), backup: null };
    expect(result(first)).toMatchObject({ ...facts, changed: true, modelId: 'org/test-model' });
    expect(result(second)).toMatchObject({ ...facts, changed: false });
    expect(first.stdout).not.toContain('secret-of-this-test');
  });

  it('--dry-run prints the settings on stdout and writes nothing', async () => {
    const { status, stdout, stderr } = await connect('codex', '--dry-run');
    expect(status).toBe(0);
    expect(stdout).toContain(`${server.url}/v1`);
    expect(stderr).toContain(join(home, '.codex/config.toml'));
    expect(existsSync(join(home, '.codex'))).toBe(false);
  });

  it('prints the command that starts a client which has no file', async () => {
    const { status, stdout } = await connect('open-webui');
    expect(status).toBe(0);
    expect(stdout).toContain(`:${new URL(server.url).port}/v1`);
    expect(stdout).not.toContain('secret-of-this-test');
  });

  it('leaves a file alone that it cannot merge, prints what to put there, and fails', async () => {
    mkdirSync(dirname(opencode()), { recursive: true });
    writeFileSync(opencode(), '{ not json');
    const { status, stdout, stderr } = await connect('opencode');
    expect(status).toBe(1);
    expect(stdout).toContain(`${server.url}/v1`);
    expect(stderr).toContain(opencode());
    expect(readFileSync(opencode(), 'utf8')).toBe('{ not json');
  });
});
