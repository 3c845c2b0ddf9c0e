// Between node:http and the app: a Request in, a Response out, and the news that the client has left.

import type { IncomingMessage, ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { FlashmoeError } from '../base/errors.js';
import { ApiError } from './api-error.js';
import type { App } from './app.js';

export async function handleHttp(
  app: App,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
): Promise<void> {
  const gone = new AbortController();
  outgoing.on('close', () => {
    if (!outgoing.writableFinished)
      gone.abort(new FlashmoeError('ERR_INTERRUPTED', 'the client left'));
  });
  const request = toRequest(incoming, gone.signal);
  const response = request instanceof Request ? await app(request) : request.response();
  // What a route didn't read is read and dropped, or the client would never get to the answer.
  if (!incoming.readableEnded) discard(incoming);
  outgoing.writeHead(response.status, Object.fromEntries(response.headers));
  if (response.body === null || incoming.method === 'HEAD') {
    await response.body?.cancel();
    outgoing.end();
    return;
  }
  const body = Readable.fromWeb(response.body);
  // Rejects when the client leaves in the middle; the signal has told the generation already.
  await pipeline(body, outgoing).catch(() => undefined);
}

function toRequest(incoming: IncomingMessage, signal: AbortSignal): Request | ApiError {
  const method = incoming.method ?? 'GET';
  // Only paths: the form with a host in the line is for proxies. `*` is OPTIONS of the whole server.
  const path = incoming.url === '*' ? '/' : (incoming.url ?? '/');
  const base = `http://${incoming.headers.host ?? ''}`;
  if (!path.startsWith('/') || !URL.canParse(base)) return new ApiError(400, 'malformed request');
  const headers = new Headers();
  for (const [name, values] of Object.entries(incoming.headersDistinct)) {
    for (const value of values ?? []) headers.append(name, value);
  }
  const hasBody = method !== 'GET' && method !== 'HEAD';
  try {
    return new Request(new URL(base).origin + path, {
      method,
      headers,
      signal,
      ...(hasBody ? { body: bodyStream(incoming), duplex: 'half' } : {}),
    });
  } catch {
    return new ApiError(405, `${method} is not a method of this server`);
  }
}

/** Not Readable.toWeb: cancelling that destroys the socket, and with it the answer that says why. */
function bodyStream(incoming: IncomingMessage): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>({
    start(controller) {
      incoming.on('data', (part: Buffer) => {
        controller.enqueue(new Uint8Array(part));
        if ((controller.desiredSize ?? 0) <= 0) incoming.pause();
      });
      incoming.on('end', () => controller.close());
      incoming.on('error', (error) => controller.error(error));
      incoming.pause();
    },
    pull() {
      incoming.resume();
    },
    cancel() {
      discard(incoming);
    },
  });
}

function discard(incoming: IncomingMessage): void {
  for (const event of ['data', 'end', 'error']) incoming.removeAllListeners(event);
  incoming.on('error', () => undefined).resume();
}
