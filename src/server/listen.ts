// A port with an app behind it, and the way to let go of it without cutting an answer short.

import { createServer, type Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { FlashmoeError } from '../base/errors.js';
import { ApiError } from './api-error.js';
import type { App } from './app.js';
import { handleHttp } from './node-http.js';
import { portOwner } from './port-owner.js';

export interface Listener {
  /** Without a path, e.g. http://127.0.0.1:11435. */
  url: string;
  port: number;
  /** Takes no more connections; settles when the last one is gone. */
  close: () => Promise<void>;
  /** Cuts what is still open. */
  cut: () => void;
}

/** Milliseconds a client may take for its headers, for its whole request, and between two requests. */
const TIMEOUTS = { headersTimeout: 20_000, requestTimeout: 120_000, keepAliveTimeout: 75_000 };

/** @param port 0 for any free one */
export async function listen(app: App, host: string, port: number): Promise<Listener> {
  let closing = false;
  const idle = new Set<Socket>();
  const server = createServer(TIMEOUTS, (incoming, outgoing) => {
    const { socket } = incoming;
    idle.delete(socket);
    outgoing.on('close', () => {
      if (closing) socket.destroySoon();
      else if (!socket.destroyed) idle.add(socket);
    });
    handleHttp(app, incoming, outgoing).catch(() => outgoing.destroy());
  });
  // server.close() waits for connections that never sent a request; clients open such ones in advance.
  server.on('connection', (socket: Socket) => {
    idle.add(socket);
    socket.on('close', () => idle.delete(socket));
  });
  server.on('clientError', refuseMalformed);
  await started(server, host, port);
  const address = server.address() as AddressInfo;
  const name = address.family === 'IPv6' ? `[${address.address}]` : address.address;
  return {
    url: `http://${name}:${address.port}`,
    port: address.port,
    close: () => {
      closing = true;
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of idle) socket.destroy();
      return closed;
    },
    cut: () => server.closeAllConnections(),
  };
}

async function started(server: Server, host: string, port: number): Promise<void> {
  const failure = await new Promise<NodeJS.ErrnoException | null>((resolve) => {
    server.once('error', resolve);
    server.listen(port, host, () => resolve(null));
  });
  if (failure === null) return;
  if (failure.code === 'EADDRINUSE') {
    const owner = await portOwner(port);
    throw new FlashmoeError(
      'ERR_PORT_IN_USE',
      `port ${port} on ${host} is in use${owner === null ? '' : ` by ${owner}`}`,
      {
        hint: `stop it, or choose another port with --port`,
        subject: String(port),
        cause: failure,
      },
    );
  }
  throw new FlashmoeError('ERR_SERVER', `cannot listen on ${host}:${port}: ${failure.message}`, {
    cause: failure,
  });
}

/** What isn't HTTP at all gets an error object, too. */
function refuseMalformed(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const [status, reason] = STATUS_OF[error.code ?? ''] ?? [400, 'Bad Request'];
  const body = JSON.stringify(new ApiError(status, reason).body());
  socket.end(
    `HTTP/1.1 ${status} ${reason}\r\nconnection: close\r\ncontent-type: application/json\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}

const STATUS_OF: Record<string, [number, string]> = {
  HPE_HEADER_OVERFLOW: [431, 'Request Header Fields Too Large'],
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'Request Timeout'],
};
