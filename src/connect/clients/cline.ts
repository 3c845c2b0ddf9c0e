import { join } from 'node:path';
import { ANY_KEY, KEY_VARIABLE, limits, PATIENCE_MS, type Client } from '../client.js';

/** The one of its providers that takes an address. */
const THEIRS = 'openai-compatible';

export const cline: Client = {
  id: 'cline',
  name: 'Cline',
  file: {
    format: 'json',
    paths: ({ homeDirectory, env }) => [
      join(
        env['CLINE_DATA_DIR'] || join(homeDirectory, '.cline', 'data'),
        'settings',
        'providers.json',
      ),
    ],
  },
  settings(server) {
    const { context, output } = limits(server);
    return {
      version: 1,
      lastUsedProvider: THEIRS,
      providers: {
        [THEIRS]: {
          settings: {
            provider: THEIRS,
            ...(server.hasKey ? {} : { apiKey: ANY_KEY }),
            model: server.modelId,
            baseUrl: `${server.root}/v1`,
            contextWindow: context,
            maxTokens: output,
            timeout: PATIENCE_MS,
          },
          updatedAt: '2026-01-01T00:00:00.000Z',
          tokenSource: 'manual',
        },
      },
    };
  },
  launch: null,
  next: ({ hasKey }) => [hasKey ? `cline --key "$${KEY_VARIABLE}"` : 'cline'],
};
