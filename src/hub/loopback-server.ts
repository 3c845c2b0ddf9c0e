// A port of ours that serves bytes: on loopback, where it answers to its own name only, or where a share listens.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export type Route = (request: IncomingMessage, response: ServerResponse, url: URL) => Promise<void>;

export interface Listening {
  origin: string;
  close: () => Promise<void>;
}

export interface ListenAt {
  host: string;
  /** 0 for any free one. */
  port: number;
  /** Status and code for a request that gets no answer; null lets it in. */
  refusal: (request: IncomingMessage, origin: string) => [status: number, code: string] | null;
}

/** A page in a browser may point a name of its own at loopback; only our own name is answered. */
const OWN_NAME: ListenAt = {
  host: '127.0.0.1',
  port: 0,
  refusal: ({ headers }, origin) =>
    `http://${headers.host ?? ''}` === origin ? null : [421, 'BadHost'],
};

/** Serves `route`; without `at` on an ephemeral port of 127.0.0.1, to clients that ask for it by that address. */
export async function listen(route: Route, at: ListenAt = OWN_NAME): Promise<Listening> {
  const server = createServer((request, response) => {
    answer(server, route, at, request, response).catch(() => {
      // The client went away or the file did: nothing can be said any more on this connection.
      response.destroy();
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(at.port, at.host, resolve);
  });
  return {
    origin: originOf(server),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function answer(
  server: Server,
  route: Route,
  at: ListenAt,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const origin = originOf(server);
  const refusal = at.refusal(request, origin);
  if (refusal !== null) return refuse(response, ...refusal);
  if (!['GET', 'HEAD', 'POST'].includes(request.method ?? ''))
    return refuse(response, 405, 'BadMethod');
  const target = request.url ?? '/';
  if (!target.startsWith('/') || !URL.canParse(target, origin))
    return refuse(response, 400, 'BadUrl');
  await route(request, response, new URL(target, origin));
}

/** An error as the Hub words it: empty but for its headers. */
export function refuse(response: ServerResponse, status: number, code: string | null): void {
  const named = code === null ? {} : { 'x-error-code': code };
  response.writeHead(status, { ...named, 'content-length': 0 }).end();
}

function originOf(server: Server): string {
  const { address, family, port } = server.address() as AddressInfo;
  return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`;
}
