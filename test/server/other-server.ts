// A second server in the OpenAI dialect, scripted, on a free port: what the fast tier is passed on to.

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach } from 'vitest';

export interface Asked {
  path: string;
  headers: IncomingMessage['headers'];
  body: Record<string, unknown>;
}

export interface OtherServer {
  /** With /v1. */
  url: string;
  asked: Asked[];
  stop: () => Promise<void>;
}

export type Answer = (asked: Asked, response: ServerResponse) => void | Promise<void>;

const running: OtherServer[] = [];
afterEach(async () => {
  await Promise.all(running.splice(0).map((server) => server.stop()));
});

/** Lists `models`, and answers everything else by `answer`. */
export async function otherServer(models: string[], answer: Answer): Promise<OtherServer> {
  const asked: Asked[] = [];
  const server = createServer((request, response) => {
    void (async () => {
      const parts: Buffer[] = [];
      for await (const part of request) parts.push(part as Buffer);
      if (request.url === '/v1/models') {
        response.end(JSON.stringify({ object: 'list', data: models.map((id) => ({ id })) }));
        return;
      }
      const text = Buffer.concat(parts).toString();
      const body = text === '' ? {} : (JSON.parse(text) as Record<string, unknown>);
      const one = { path: request.url ?? '', headers: request.headers, body };
      asked.push(one);
      await answer(one, response);
    })();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const stop = async (): Promise<void> => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  const { port } = server.address() as AddressInfo;
  const other = { url: `http://127.0.0.1:${port}/v1`, asked, stop };
  running.push(other);
  return other;
}

export const says =
  (content: string): Answer =>
  (_, response) => {
    response.setHeader('content-type', 'application/json');
    response.end(
      JSON.stringify({ object: 'chat.completion', choices: [{ message: { content } }] }),
    );
  };
