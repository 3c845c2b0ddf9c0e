import { join } from 'node:path';
import { KEY_VARIABLE, limits, PATIENCE_MS, PROVIDER, type Client } from '../client.js';

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
  next: () => ['codex'],
};
