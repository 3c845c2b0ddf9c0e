import { ANY_KEY, KEY_VARIABLE, PATIENCE_MS, type Client, type ServerFacts } from '../client.js';

/** From inside of a container, this machine has another name. */
function inContainer({ root }: ServerFacts): string {
  return root.replace(/\/\/(127\.0\.0\.1|localhost|\[::1\])/, '//host.docker.internal');
}

export const openWebui: Client = {
  id: 'open-webui',
  name: 'Open WebUI',
  file: null,
  settings: (server) => ({
    OPENAI_API_BASE_URL: `${inContainer(server)}/v1`,
    OPENAI_API_KEY: server.hasKey ? `$${KEY_VARIABLE}` : ANY_KEY,
    AIOHTTP_CLIENT_TIMEOUT: String(PATIENCE_MS / 1000),
    ENABLE_OLLAMA_API: 'false',
    // It asks for titles, tags and questions after each answer: minutes of work that nobody wanted.
    ENABLE_TITLE_GENERATION: 'false',
    ENABLE_TAGS_GENERATION: 'false',
    ENABLE_FOLLOW_UP_GENERATION: 'false',
  }),
  launch: null,
  next(server) {
    const variables = Object.entries(this.settings(server)).map(
      ([name, value]) => `  -e ${name}=${String(value)} \\`,
    );
    return [
      [
        'docker run -d -p 3000:8080 -v open-webui:/app/backend/data \\',
        '  --add-host=host.docker.internal:host-gateway --name open-webui \\',
        ...variables,
        '  ghcr.io/open-webui/open-webui:main',
      ].join('\n'),
    ];
  },
};
