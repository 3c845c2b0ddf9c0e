import { join } from 'node:path';
import { ANY_KEY, KEY_VARIABLE, limits, PATIENCE_MS, PROVIDER, type Client } from '../client.js';

export const openclaw: Client = {
  id: 'openclaw',
  name: 'OpenClaw',
  file: {
    format: 'json',
    paths: ({ homeDirectory, env }) => [
      env['OPENCLAW_CONFIG_PATH'] || join(homeDirectory, '.openclaw', 'openclaw.json'),
    ],
  },
  settings(server) {
    const { context, output } = limits(server);
    const { modelId } = server;
    return {
      agents: { defaults: { model: { primary: `${PROVIDER}/${modelId}` } } },
      models: {
        mode: 'merge',
        providers: {
          [PROVIDER]: {
            baseUrl: `${server.root}/v1`,
            apiKey: server.hasKey ? `\${${KEY_VARIABLE}}` : ANY_KEY,
            api: 'openai-completions',
            timeoutSeconds: PATIENCE_MS / 1000,
            models: [
              {
                id: modelId,
                name: 'flashmoe',
                reasoning: true,
                input: ['text'],
                contextWindow: context,
                maxTokens: output,
                cost: { input: 0, output: 0, cacheRead: 0, cacheWrite: 0 },
                compat: {
                  supportsUsageInStreaming: true,
                  thinkingFormat: 'qwen-chat-template',
                  maxTokensField: 'max_tokens',
                },
              },
            ],
          },
        },
      },
    };
  },
  launch: null,
  next: ({ modelId }) => [
    `openclaw infer model run --local --model ${PROVIDER}/${modelId} --thinking off --prompt "Reply with exactly: ok"`,
  ],
};
