import { join } from 'node:path';
import { ANY_KEY, KEY_VARIABLE, limits, PATIENCE_MS, PROVIDER, type Client } from '../client.js';

export const qwenCode: Client = {
  id: 'qwen-code',
  name: 'Qwen Code',
  file: {
    format: 'json',
    paths: ({ homeDirectory, env }) => [
      join(env['QWEN_HOME'] || join(homeDirectory, '.qwen'), 'settings.json'),
    ],
  },
  settings(server) {
    const { context, output } = limits(server);
    const { modelId } = server;
    return {
      security: { auth: { selectedType: 'openai' } },
      model: { name: modelId },
      // Its own variable, which it takes where the environment has none.
      ...(server.hasKey ? {} : { env: { [KEY_VARIABLE]: ANY_KEY } }),
      modelProviders: {
        openai: [
          {
            id: modelId,
            name: PROVIDER,
            baseUrl: `${server.root}/v1`,
            envKey: KEY_VARIABLE,
            generationConfig: {
              timeout: PATIENCE_MS,
              maxRetries: 1,
              contextWindowSize: context,
              samplingParams: { max_tokens: output },
            },
          },
        ],
      },
    };
  },
  launch: ({ root, modelId }, key) => ({
    program: 'qwen',
    install: 'npm install -g @qwen-code/qwen-code',
    args: ['--auth-type', 'openai', '--openai-base-url', `${root}/v1`, '--model', modelId],
    env: { OPENAI_API_KEY: key, OPENAI_BASE_URL: `${root}/v1`, OPENAI_MODEL: modelId },
    files: [],
  }),
  next: () => ['qwen'],
};
