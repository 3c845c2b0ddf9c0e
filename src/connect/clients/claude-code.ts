import { join } from 'node:path';
import { ANY_KEY, KEY_VARIABLE, limits, PATIENCE_MS, type Client } from '../client.js';

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
        ...(server.hasKey ? {} : { ANTHROPIC_API_KEY: ANY_KEY }),
        ANTHROPIC_DEFAULT_OPUS_MODEL: modelId,
        ANTHROPIC_DEFAULT_SONNET_MODEL: modelId,
        // Titles and summaries: work for a quick model, where there is one.
        ANTHROPIC_DEFAULT_HAIKU_MODEL: server.hasFast ? 'fast' : modelId,
        // Without this line in each prompt, the next one begins as the last one did.
        CLAUDE_CODE_ATTRIBUTION_HEADER: '0',
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1',
        CLAUDE_CODE_MAX_OUTPUT_TOKENS: String(output),
        CLAUDE_CODE_AUTO_COMPACT_WINDOW: String(context),
        API_TIMEOUT_MS: String(PATIENCE_MS),
        CLAUDE_STREAM_IDLE_TIMEOUT_MS: String(PATIENCE_MS),
      },
    };
  },
  next: () => ['claude'],
};
