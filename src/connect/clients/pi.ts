import { join } from 'node:path';
import {
  ANY_KEY,
  KEY_VARIABLE,
  limits,
  PROVIDER,
  type Client,
  type ServerFacts,
  type Settings,
} from '../client.js';

function provider(server: ServerFacts): Settings {
  const { context, output } = limits(server);
  return {
    baseUrl: `${server.root}/v1`,
    api: 'openai-completions',
    apiKey: server.hasKey ? KEY_VARIABLE : ANY_KEY,
    compat: { maxTokensField: 'max_tokens', supportsDeveloperRole: true },
    models: [
      {
        id: server.modelId,
        name: PROVIDER,
        reasoning: true,
        input: ['text'],
        contextWindow: context,
        maxTokens: output,
        cost: { input: 0, output: 0, cacheRead: 0, cacheWrite: 0 },
      },
    ],
  };
}

export const pi: Client = {
  id: 'pi',
  name: 'pi',
  file: {
    format: 'json',
    paths: ({ homeDirectory, env }) => [
      join(env['PI_CODING_AGENT_DIR'] || join(homeDirectory, '.pi', 'agent'), 'models.json'),
    ],
  },
  settings: (server) => ({ providers: { [PROVIDER]: provider(server) } }),
  launch(server, key, folder) {
    const told = `${JSON.stringify(PROVIDER)}, ${JSON.stringify(provider({ ...server, hasKey: true }))}`;
    const text = `export default (pi) => pi.registerProvider(${told});\n`;
    return {
      program: 'pi',
      install: 'npm install -g @mariozechner/pi-coding-agent',
      args: ['-e', join(folder, EXTENSION), '--provider', PROVIDER, '--model', server.modelId],
      env: { [KEY_VARIABLE]: key },
      files: [{ name: EXTENSION, text }],
    };
  },
  next: ({ modelId }) => [`pi --provider ${PROVIDER} --model ${modelId}`],
};

/** How a provider is told to it for one run. */
const EXTENSION = 'flashmoe.js';
