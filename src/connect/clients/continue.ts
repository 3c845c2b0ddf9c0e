import { join } from 'node:path';
import { ANY_KEY, KEY_VARIABLE, limits, PATIENCE_MS, PROVIDER, type Client } from '../client.js';
import { snippet } from '../merge.js';

/** Its own file when it is started by us. */
const FILE = 'flashmoe.yaml';

export const continueDev: Client = {
  id: 'continue',
  name: 'Continue',
  file: {
    format: 'yaml',
    paths: ({ homeDirectory, env }) => [
      join(env['CONTINUE_GLOBAL_DIR'] || join(homeDirectory, '.continue'), 'config.yaml'),
    ],
  },
  settings(server) {
    const { context, output } = limits(server);
    return {
      name: 'Local Assistant',
      version: '1.0.0',
      schema: 'v1',
      models: [
        {
          name: PROVIDER,
          provider: 'openai',
          model: server.modelId,
          apiBase: `${server.root}/v1`,
          apiKey: server.hasKey ? `\${{ secrets.${KEY_VARIABLE} }}` : ANY_KEY,
          // No autocompletion: it asks at every keystroke, and this model answers in seconds.
          roles: ['chat', 'edit', 'apply'],
          capabilities: ['tool_use'],
          defaultCompletionOptions: { contextLength: context, maxTokens: output },
          requestOptions: { timeout: PATIENCE_MS / 1000 },
        },
      ],
    };
  },
  launch(server, key, folder) {
    const text = snippet('yaml', this.settings({ ...server, hasKey: true }));
    return {
      program: 'cn',
      install: 'npm install -g @continuedev/cli',
      args: ['--config', join(folder, FILE)],
      env: { [KEY_VARIABLE]: key },
      files: [{ name: FILE, text }],
    };
  },
  next: () => ['choose flashmoe in the list of models'],
};
