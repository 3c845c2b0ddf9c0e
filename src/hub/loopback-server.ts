// What the bundled hub's two servers share: an ephemeral loopback port that answers to its own name only.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export type Route = (request: IncomingMessage, response: ServerResponse, url: URL) => Promise<void>;

/** Serves `route` on an ephemeral port of 127.0.0.1, and there only, to clients that ask for it by that address. */
export async function listen(
  route: Route,
): Promise<{ origin: string; close: () => Promise<void> }> {
  const server = createServer((request, response) => {
    answer(server, route, request, response).catch(() => {
      // The client went away or the file did: nothing can be said any more on this connection.
      response.destroy();
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
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
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const origin = originOf(server);
  // A page in a browser may point a name of its own at loopback; only our own name is answered.
  if (`http://${request.headers.host ?? ''}` !== origin) return refuse(response, 421, 'BadHost');
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
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
