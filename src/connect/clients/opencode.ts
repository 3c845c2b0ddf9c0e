import { join } from 'node:path';
import {
  ANY_KEY,
  KEY_VARIABLE,
  limits,
  PATIENCE_MS,
  PROVIDER,
  type Client,
  type Places,
} from '../client.js';

function folder({ homeDirectory, env }: Places): string {
  return join(env['XDG_CONFIG_HOME'] || join(homeDirectory, '.config'), 'opencode');
}

export const opencode: Client = {
  id: 'opencode',
  name: 'opencode',
  file: {
    format: 'json',
    paths: (places) => [
      ...(places.env['OPENCODE_CONFIG'] ? [places.env['OPENCODE_CONFIG']] : []),
      join(folder(places), 'opencode.json'),
      join(folder(places), 'opencode.jsonc'),
    ],
  },
  settings(server) {
    const { modelId } = server;
    return {
      $schema: 'https://opencode.ai/config.json',
      model: `${PROVIDER}/${modelId}`,
      small_model: `${PROVIDER}/${server.hasFast ? 'fast' : modelId}`,
      provider: {
        [PROVIDER]: {
          npm: '@ai-sdk/openai-compatible',
          name: PROVIDER,
          options: {
            baseURL: `${server.root}/v1`,
            apiKey: server.hasKey ? `{env:${KEY_VARIABLE}}` : ANY_KEY,
            timeout: PATIENCE_MS,
            headerTimeout: PATIENCE_MS,
            chunkTimeout: PATIENCE_MS,
          },
          models: {
            [modelId]: { name: modelId, tool_call: true, reasoning: true, limit: limits(server) },
            ...(server.hasFast ? { fast: { name: 'fast', limit: limits(server) } } : {}),
          },
        },
      },
    };
  },
  launch(server, key) {
    const settings = JSON.stringify(this.settings({ ...server, hasKey: true }));
    return {
      program: 'opencode',
      install: 'npm install -g opencode-ai',
      args: [],
      env: { OPENCODE_CONFIG_CONTENT: settings, [KEY_VARIABLE]: key },
      files: [],
    };
  },
  next: () => ['opencode'],
};
