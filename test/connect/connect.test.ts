import {
  chmod,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import Anthropic from '@anthropic-ai/sdk';
import * as jsonc from 'jsonc-parser';
import OpenAI from 'openai';
import { parse as parseToml } from 'smol-toml';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parse as parseYaml } from 'yaml';
import type { Client, Places, ServerFacts } from '../../src/connect/client.js';
import { planConnection, writeConnection } from '../../src/connect/connect.js';
import { merged } from '../../src/connect/merge.js';
import { CLIENTS } from '../../src/connect/registry.js';
import { finish, MemoryEngine, said, says } from '../server/memory-engine.js';
import { start } from '../server/running.js';

const SERVER: ServerFacts = {
  root: 'http://127.0.0.1:11435',
  modelId: 'qwen3.5-397b-4bit',
  contextLength: 262_144,
  isGuess: false,
  hasKey: false,
  hasFast: false,
};

let home: string;
let places: Places;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'flashmoe-connect-'));
  places = { homeDirectory: home, env: {} };
});
afterEach(() => rm(home, { recursive: true }));

function clientOf(id: string): Client {
  const client = CLIENTS.find((one) => one.id === id);
  if (client === undefined) throw new Error(id);
  return client;
}

async function connect(
  id: string,
  server = SERVER,
): Promise<{ path: string; backup: string | null }> {
  const plan = await planConnection(clientOf(id), server, places);
  return { path: plan.path ?? '', backup: await writeConnection(plan, 'now') };
}

async function put(path: string, text: string): Promise<string> {
  const full = join(home, path);
  await mkdir(dirname(full), { recursive: true });
  await writeFile(full, text);
  return full;
}

const PARSERS = {
  json: (text: string): unknown => JSON.parse(text),
  toml: (text: string): unknown => parseToml(text),
  yaml: (text: string): unknown => parseYaml(text),
};

describe('a client without a file', () => {
  it.each([
    ['openclaw', '.openclaw/openclaw.json'],
    ['claude-code', '.claude/settings.json'],
    ['codex', '.codex/config.toml'],
    ['opencode', '.config/opencode/opencode.json'],
    ['continue', '.continue/config.yaml'],
    ['qwen-code', '.qwen/settings.json'],
    ['pi', '.pi/agent/models.json'],
    ['cline', '.cline/data/settings/providers.json'],
  ])(
    '%s gets one that only its owner reads, and the same again changes nothing',
    async (id, at) => {
      const { path, backup } = await connect(id);
      expect(path).toBe(join(home, at));
      expect(backup).toBeNull();
      expect((await stat(path)).mode & 0o777).toBe(0o600);
      const format = clientOf(id).file?.format ?? 'json';
      const settings = PARSERS[format](await readFile(path, 'utf8'));
      expect(settings).toEqual(clientOf(id).settings(SERVER));
      // pi has no such setting.
      if (id !== 'pi') expect(JSON.stringify(settings)).toMatch(/3600/);
      expect((await planConnection(clientOf(id), SERVER, places)).text).toBeNull();
    },
  );

  it.each([
    [{ CODEX_HOME: '/elsewhere' }, 'codex', '/elsewhere/config.toml'],
    [{ CLAUDE_CONFIG_DIR: '/elsewhere' }, 'claude-code', '/elsewhere/settings.json'],
    [{ XDG_CONFIG_HOME: '/elsewhere' }, 'opencode', '/elsewhere/opencode/opencode.json'],
    [{ OPENCLAW_CONFIG_PATH: '/elsewhere/o.json' }, 'openclaw', '/elsewhere/o.json'],
  ])('has it where its environment says: %j', async (env, id, path) => {
    const plan = await planConnection(clientOf(id), SERVER, { homeDirectory: home, env });
    expect(plan.path).toBe(path);
  });
});

describe('a file that is there', () => {
  it('keeps what else it says, its order, indent and mode, and is backed up', async () => {
    const before =
      '{\n\t"theme": "dark",\n\t"env": {\n\t\t"FOO": "1",\n\t\t"API_TIMEOUT_MS": "5"\n\t}\n}\n';
    const full = await put('.claude/settings.json', before);
    await chmod(full, 0o640);
    const { backup } = await connect('claude-code');
    const after = await readFile(full, 'utf8');
    expect(after).toMatch(/^\{\n\t"theme": "dark",\n\t"env": \{\n\t\t"FOO": "1",\n/);
    expect(JSON.parse(after)).toMatchObject({
      theme: 'dark',
      env: { FOO: '1', API_TIMEOUT_MS: '3600000', ANTHROPIC_BASE_URL: SERVER.root },
    });
    expect((await stat(full)).mode & 0o777).toBe(0o640);
    expect(backup).toBe(`${full}.before-flashmoe-now`);
    expect(await readFile(backup ?? '', 'utf8')).toBe(before);
  });

  it('that is a link stays one', async () => {
    const real = await put('dotfiles/codex.toml', 'model = "gpt-5"\n');
    await mkdir(join(home, '.codex'));
    await symlink(real, join(home, '.codex/config.toml'));
    await connect('codex');
    expect(await readFile(real, 'utf8')).toMatch(/model = "qwen3.5-397b-4bit"/);
    expect(await readFile(join(home, '.codex/config.toml'), 'utf8')).toMatch(/model_provider/);
  });

  it('in TOML keeps its comments, its tables and its other values', async () => {
    const before = [
      '# mine',
      'model = "gpt-5" # the big one',
      'approval_policy = "on-request"',
      'notify = [',
      '  "say",',
      '  "[done]",',
      ']',
      '',
      '# servers',
      '[mcp_servers.files]',
      'command = "npx"',
      '',
      '[model_providers.flashmoe] # before',
      'base_url = "http://127.0.0.1:1/v1"',
      'http_headers = { a = "b" }',
      '',
      '[[things]]',
      'model = "other"',
      '',
    ].join('\n');
    const path = await put('.codex/config.toml', before);
    await connect('codex');
    const after = await readFile(path, 'utf8');
    for (const line of ['# mine', '# servers', '[model_providers.flashmoe] # before']) {
      expect(after.split('\n')).toContain(line);
    }
    expect(after).toMatch(/^model = "qwen3.5-397b-4bit" # the big one$/m);
    expect(parseToml(after)).toMatchObject({
      model_provider: 'flashmoe',
      approval_policy: 'on-request',
      notify: ['say', '[done]'],
      mcp_servers: { files: { command: 'npx' } },
      model_providers: {
        flashmoe: { base_url: 'http://127.0.0.1:11435/v1', http_headers: { a: 'b' } },
      },
      things: [{ model: 'other' }],
    });
  });

  it('in JSON keeps its comments, its commas and its other values', async () => {
    const before = [
      '// mine',
      '{',
      '  /* of the',
      '     evening */',
      '  "theme": "dark", // less light',
      '  "provider": {',
      '    "cloud": { "options": {} }, // expensive',
      '  },',
      '  "model": "cloud/x", // until now',
      '}',
      '',
    ].join('\n');
    const path = await put('.config/opencode/opencode.jsonc', before);
    await connect('opencode');
    const after = await readFile(path, 'utf8');
    const comments = ['// mine\n{\n  /* of the\n     evening */', '// less light'];
    for (const comment of [...comments, '// expensive', '// until now']) {
      expect(after).toContain(comment);
    }
    expect(jsonc.parse(after, [], { allowTrailingComma: true })).toMatchObject({
      theme: 'dark',
      provider: { cloud: {}, flashmoe: { name: 'flashmoe' } },
    });
    expect((await planConnection(clientOf('opencode'), SERVER, places)).text).toBeNull();
  });

  it('with a list of models keeps those of others', async () => {
    const mine = { id: 'gpt-5', envKey: 'OPENAI_API_KEY' };
    const before = { modelProviders: { openai: [mine, { id: SERVER.modelId, name: 'old' }] } };
    const path = await put('.qwen/settings.json', JSON.stringify(before));
    await connect('qwen-code');
    const after = JSON.parse(await readFile(path, 'utf8')) as typeof before;
    expect(after.modelProviders.openai).toMatchObject([
      mine,
      { id: SERVER.modelId, name: 'flashmoe' },
    ]);
  });

  it('has a file of ours beside it, where the client reads of models elsewhere', async () => {
    const { path } = await connect('codex');
    const settings = parseToml(await readFile(path, 'utf8'));
    const own = join(dirname(path), settings['model_catalog_json'] as string);
    const catalog = await readFile(own, 'utf8');
    expect(JSON.parse(catalog)).toMatchObject({
      models: [{ slug: SERVER.modelId, context_window: 65_536 }],
    });
    const other = { ...SERVER, contextLength: 32_768 };
    const plan = await planConnection(clientOf('codex'), other, places);
    expect(plan.ownFiles.map((one) => one.path)).toEqual([own]);
  });

  it('in YAML keeps its comments and the other models', async () => {
    const before = [
      'name: Mine # of course',
      'version: 2.0.0',
      'schema: v1',
      '# all of them',
      'models:',
      '  - name: cloud # expensive',
      '    provider: openai',
      '    model: gpt-5',
      '  - name: flashmoe',
      '    provider: openai',
      '    model: old',
      '',
    ].join('\n');
    const path = await put('.continue/config.yaml', before);
    await connect('continue');
    const after = await readFile(path, 'utf8');
    for (const comment of ['# of course', '# all of them', '# expensive']) {
      expect(after).toContain(comment);
    }
    expect(parseYaml(after)).toMatchObject({
      name: 'Mine',
      version: '2.0.0',
      models: [{ name: 'cloud' }, { name: 'flashmoe', model: SERVER.modelId }],
    });
  });

  it.each([
    ['openclaw', '.openclaw/openclaw.json', '{ agents: { defaults: {} } } // JSON5\n'],
    ['opencode', '.config/opencode/opencode.jsonc', '{ "model": "x" '],
    ['pi', '.pi/agent/models.json', '{ "providers": { "flashmoe": { "models": [] } } } trailing'],
    ['claude-code', '.claude/settings.json', '{ "env": {}, "theme": 1, "env": { "A": "1" } }'],
    ['claude-code', '.claude/settings.json', '[1, 2]'],
    ['codex', '.codex/config.toml', 'model = "unfinished\n'],
    ['codex', '.codex/config.toml', 'model_providers = { flashmoe = { base_url = "x" } }\n'],
    ['codex', '.codex/config.toml', 'model = """\nlong\n"""\n'],
    ['continue', '.continue/config.yaml', 'models: [\n'],
    ['continue', '.continue/config.yaml', '- a\n- b\n'],
  ])('of %s that cannot be kept is refused, and left as it is: %s', async (id, at, text) => {
    const path = await put(at, text);
    await expect(connect(id)).rejects.toMatchObject({
      code: 'ERR_CLIENT_CONFIG',
      subject: path,
      message: expect.stringMatching(/left as it was|left as it is/) as string,
    });
    expect(await readFile(path, 'utf8')).toBe(text);
    expect(await readdir(dirname(path))).toHaveLength(1);
  });
});

describe('the settings of every client', () => {
  it('never hold a key, but name where it is', () => {
    for (const client of CLIENTS) {
      const server = { ...SERVER, hasKey: true };
      const text = JSON.stringify([client.settings(server), client.next(server)]);
      expect(text).toMatch(/FLASHMOE_API_KEY/);
      expect(text).not.toMatch(/"local"/);
    }
  });

  it('keep conversations and answers to what fits, and to what is bearable', () => {
    const small = { ...SERVER, contextLength: 4096 };
    for (const client of CLIENTS.filter(({ file }) => file !== null)) {
      expect(JSON.stringify(client.settings(SERVER))).toMatch(/65536/);
      expect(JSON.stringify(client.settings(small))).toMatch(/4096/);
      expect(JSON.stringify(client.settings(small))).not.toMatch(/65536|8192/);
    }
  });

  it('give titles and summaries to the quick model where there is one', () => {
    const server = { ...SERVER, hasFast: true };
    expect(clientOf('opencode').settings(server)).toMatchObject({ small_model: 'flashmoe/fast' });
    expect(clientOf('claude-code').settings(server)).toMatchObject({
      env: { ANTHROPIC_DEFAULT_HAIKU_MODEL: 'fast' },
    });
  });

  it('lead real clients to a real server', async () => {
    const running = await start(new MemoryEngine(says(said('ok'), finish())));
    const server = { ...SERVER, root: running.url };
    const value = (id: string, pattern: RegExp): string =>
      pattern.exec(JSON.stringify(clientOf(id).settings(server)))?.[1] ?? '';
    const messages = [{ role: 'user' as const, content: 'hi' }];
    for (const [id, pattern] of [
      ['openclaw', /"baseUrl":"([^"]+)"/],
      ['opencode', /"baseURL":"([^"]+)"/],
      ['continue', /"apiBase":"([^"]+)"/],
      ['qwen-code', /"baseUrl":"([^"]+)"/],
      ['pi', /"baseUrl":"([^"]+)"/],
      ['cline', /"baseUrl":"([^"]+)"/],
    ] as const) {
      const openai = new OpenAI({ baseURL: value(id, pattern), apiKey: 'local' });
      const { choices } = await openai.chat.completions.create({ model: 'm', messages });
      expect(choices[0]?.message.content).toBe('ok');
    }
    const codex = new OpenAI({ baseURL: value('codex', /"base_url":"([^"]+)"/), apiKey: 'local' });
    expect((await codex.responses.create({ model: 'm', input: 'hi' })).output_text).toBe('ok');
    const baseURL = value('claude-code', /"ANTHROPIC_BASE_URL":"([^"]+)"/);
    const claude = new Anthropic({ baseURL, apiKey: 'local' });
    const { content } = await claude.messages.create({ model: 'm', max_tokens: 9, messages });
    expect(content[0]).toMatchObject({ type: 'text', text: 'ok' });
  });

  it('of a container call this machine by the name it has there', () => {
    const [command] = clientOf('open-webui').next(SERVER);
    expect(command).toContain('OPENAI_API_BASE_URL=http://host.docker.internal:11435/v1');
  });
});

it('a merge is the same the second time, for files of any shape that it takes', () => {
  const { settings } = clientOf('codex');
  for (const text of ['', '# only this\n', 'a = 1', '[t]\nx = 1\n', '\n\n[t]\n\n']) {
    const once = merged('toml', text, settings(SERVER), 'config.toml');
    expect(merged('toml', once, settings(SERVER), 'config.toml')).toBe(once);
  }
});
