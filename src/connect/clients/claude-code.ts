import { join } from 'node:path';
import { ANY_KEY, KEY_VARIABLE, limits, PATIENCE_MS, type Client } from '../client.js';

/** Tokens: what it sends first, and what it keeps free for an answer and a summary. */
const LEAST_CONTEXT = 40_000;

export const claudeCode: Client = {
  id: 'claude-code',
  name: 'Claude Code',
  file: {
    format: 'json',
    paths: ({ homeDirectory, env }) => [
      join(env['CLAUDE_CONFIG_DIR'] || join(homeDirectory, '.claude'), 'settings.json'),
    ],
  },
  settings(server) {
    const { context, output } = limits(server);
    const { modelId } = server;
    return {
      ...(server.hasKey ? { apiKeyHelper: `printf %s "$${KEY_VARIABLE}"` } : {}),
      env: {
        ANTHROPIC_BASE_URL: server.root,
        // A token, since it asks people whether it may use a key.
        ...(server.hasKey ? {} : { ANTHROPIC_AUTH_TOKEN: ANY_KEY }),
        ANTHROPIC_MODEL: modelId,
        ANTHROPIC_DEFAULT_OPUS_MODEL: modelId,
        ANTHROPIC_DEFAULT_SONNET_MODEL: modelId,
        // Titles and summaries: work for a quick model, where there is one.
        ANTHROPIC_DEFAULT_HAIKU_MODEL: server.hasFast ? 'fast' : modelId,
        // Without this line in each prompt, the next one begins as the last one did.
        CLAUDE_CODE_ATTRIBUTION_HEADER: '0',
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1',
        CLAUDE_CODE_MAX_OUTPUT_TOKENS: String(output),
        // Of a model whose name it doesn't know it believes 1,000,000 otherwise, and CLAUDE_CODE_AUTO_COMPACT_WINDOW
        // takes no less than 100,000.
        CLAUDE_CODE_MAX_CONTEXT_TOKENS: String(context),
        API_TIMEOUT_MS: String(PATIENCE_MS),
        CLAUDE_STREAM_IDLE_TIMEOUT_MS: String(PATIENCE_MS),
      },
    };
  },
  launch(server, key) {
    const { env } = this.settings({ ...server, hasKey: true });
    // What is in the user's own settings would win over the environment; a key in arguments would be seen by all.
    const args = ['--settings', JSON.stringify({ env })];
    return {
      program: 'claude',
      install: 'npm install -g @anthropic-ai/claude-code',
      args,
      env: { ...(env as Record<string, string>), ANTHROPIC_AUTH_TOKEN: key },
      files: [],
    };
  },
  next: ({ contextLength }) => [
    'claude',
    ...(contextLength < LEAST_CONTEXT
      ? [`its first prompt and its reserve need some ${LEAST_CONTEXT} tokens: more than fit here`]
      : []),
  ],
};
