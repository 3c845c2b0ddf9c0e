// Starts a server on a free port for one test and stops it afterwards.

import { afterEach } from 'vitest';
import type { Engine } from '../../src/engine/types.js';
import type { ServerEvent } from '../../src/server/context.js';
import { serve, type RunningServer, type ServeOptions } from '../../src/server/serve.js';

const running: RunningServer[] = [];

afterEach(async () => {
  await Promise.all(running.splice(0).map((server) => server.close(0)));
});

export interface Started extends RunningServer {
  events: ServerEvent[];
  get: (path: string, init?: RequestInit) => Promise<Response>;
  post: (body: unknown, init?: RequestInit) => Promise<Response>;
}

export async function start(
  engine: Engine | (() => Promise<Engine>),
  options: Partial<ServeOptions> = {},
): Promise<Started> {
  const events: ServerEvent[] = [];
  const server = await serve({
    port: 0,
    modelId: 'org/test-model',
    load: typeof engine === 'function' ? engine : () => Promise.resolve(engine),
    version: '1.2.3',
    now: Date.now,
    emit: (event) => events.push(event),
    ...options,
  });
  running.push(server);
  if (typeof engine !== 'function') await server.modelSettled;
  const get = (path: string, init?: RequestInit) => fetch(server.url + path, init);
  const post = (body: unknown, init: RequestInit = {}) =>
    get('/v1/chat/completions', {
      method: 'POST',
      body: typeof body === 'string' ? body : JSON.stringify(body),
      ...init,
    });
  return { ...server, events, get, post };
}

export interface WireError {
  error: { message: string; type: string; param: string | null; code: string | null };
}

export async function errorOf(response: Response): Promise<WireError['error']> {
  return ((await response.json()) as WireError).error;
}

/** A stream's events as a client sees them: `data` lines parsed, [DONE] as it is, comments apart. */
export async function readEvents(
  response: Response,
): Promise<{ data: unknown[]; comments: string[] }> {
  const lines = (await response.text()).split('\n\n').filter((line) => line !== '');
  const data = lines
    .filter((line) => line.startsWith('data: '))
    .map((line) => line.slice('data: '.length))
    .map((line) => (line === '[DONE]' ? line : (JSON.parse(line) as unknown)));
  return { data, comments: lines.filter((line) => line.startsWith(':')) };
}
