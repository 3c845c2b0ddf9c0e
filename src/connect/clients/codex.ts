import { join } from 'node:path';
import {
  KEY_VARIABLE,
  limits,
  PATIENCE_MS,
  PROVIDER,
  type Client,
  type OwnFile,
  type ServerFacts,
} from '../client.js';

const CATALOG = 'flashmoe-models.json';

/** What it asks of a model; without it, it warns at each start and goes by another model's. */
function catalog(server: ServerFacts): OwnFile {
  const { context } = limits(server);
  const text = {
    models: [
      {
        slug: server.modelId,
        display_name: server.modelId,
        description: 'served by flashmoe',
        supported_reasoning_levels: [
          { effort: 'none', description: 'Answers at once' },
          { effort: 'low', description: 'Thinks for up to 1,024 tokens' },
          { effort: 'medium', description: 'Thinks for up to 8,192 tokens' },
          { effort: 'high', description: 'Thinks as long as it likes' },
        ],
        default_reasoning_level: 'low',
        shell_type: 'unified_exec',
        visibility: 'list',
        supported_in_api: true,
        priority: 0,
        base_instructions: INSTRUCTIONS,
        supports_reasoning_summaries: false,
        support_verbosity: false,
        apply_patch_tool_type: 'freeform',
        truncation_policy: { mode: 'tokens', limit: 4000 },
        supports_parallel_tool_calls: false,
        experimental_supported_tools: [],
        input_modalities: ['text'],
        context_window: context,
      },
    ],
  };
  return { name: CATALOG, text: `${JSON.stringify(text, null, 2)}\n` };
}

/** Few words: each is read before the first answer. */
const INSTRUCTIONS = [
  'You are a coding agent that works with a person in a terminal, in the folder that they opened.',
  'Read files before you change them, and make the smallest change that does what was asked.',
  'Use the tools that are offered, one step after the other, and wait for their results.',
  'Say what you did in a few plain sentences, and what you could not do.',
].join('\n');

/** On one line, as an argument takes it. */
function inlineToml(value: unknown): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const entries = Object.entries(value).map(([key, one]) => `${key}=${inlineToml(one)}`);
  return `{${entries.join(',')}}`;
}

export const codex: Client = {
  id: 'codex',
  name: 'Codex',
  file: {
    format: 'toml',
    paths: ({ homeDirectory, env }) => [
      join(env['CODEX_HOME'] || join(homeDirectory, '.codex'), 'config.toml'),
    ],
  },
  settings(server) {
    const { context } = limits(server);
    return {
      model: server.modelId,
      model_provider: PROVIDER,
      model_context_window: context,
      model_catalog_json: CATALOG,
      model_auto_compact_token_limit: Math.floor(context * 0.8),
      model_providers: {
        [PROVIDER]: {
          name: PROVIDER,
          base_url: `${server.root}/v1`,
          wire_api: 'responses',
          ...(server.hasKey ? { env_key: KEY_VARIABLE } : {}),
          stream_idle_timeout_ms: PATIENCE_MS,
          // A second try while the first still runs would only double the work.
          request_max_retries: 1,
          stream_max_retries: 1,
        },
      },
    };
  },
  ownFiles: (server) => [catalog(server)],
  launch(server, key, folder) {
    const settings = { ...this.settings({ ...server, hasKey: true }) };
    settings['model_catalog_json'] = join(folder, CATALOG);
    const args = Object.entries(settings).flatMap(([name, value]) => [
      '-c',
      `${name}=${inlineToml(value)}`,
    ]);
    return {
      program: 'codex',
      install: 'npm install -g @openai/codex',
      args,
      env: { [KEY_VARIABLE]: key },
      files: [catalog(server)],
    };
  },
  next: () => ['codex'],
};
