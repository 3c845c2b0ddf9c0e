// https through an http or https proxy: CONNECT, then TLS to the real host inside the tunnel.

import { request as httpRequest } from 'node:http';
import { Agent, request as httpsRequest } from 'node:https';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as tlsConnect, type ConnectionOptions } from 'node:tls';

type Connected = (error: Error | null, socket?: Duplex) => void;

/** The proxy's answer to CONNECT was not 200. `statusCode` 407 means it wants other credentials. */
export class ProxyRefusal extends Error {
  constructor(readonly statusCode: number) {
    super(`the proxy answered CONNECT with ${statusCode}`);
  }
}

/** An https agent whose connections are tunnels through `proxy`. Kept alive and pooled like any other. */
export class ConnectAgent extends Agent {
  readonly #proxy: URL;

  /** `trust`: further certificates of the hosts behind it. */
  constructor(proxy: URL, trust: { ca?: string[] } = {}) {
    super({ keepAlive: true, ...trust });
    this.#proxy = proxy;
  }

  // Node calls this for each new connection; the callback form is what lets it be asynchronous.
  override createConnection(options: ConnectionOptions, connected: Connected): undefined {
    const target = `${options.host ?? ''}:${options.port ?? 443}`;
    const proxy = this.#proxy;
    const headers: Record<string, string> = { host: target };
    if (proxy.username !== '') {
      const login = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`;
      headers['proxy-authorization'] = `Basic ${Buffer.from(login).toString('base64')}`;
    }
    const open = proxy.protocol === 'https:' ? httpsRequest : httpRequest;
    const tunnel = open({
      host: proxy.hostname.replace(/^\[|\]$/g, ''),
      port: proxy.port || (proxy.protocol === 'https:' ? 443 : 80),
      method: 'CONNECT',
      path: target,
      headers,
      agent: false,
      timeout: 30_000,
    });
    tunnel.once('timeout', () => tunnel.destroy(new Error('the proxy did not answer')));
    tunnel.once('error', (error) => connected(error));
    tunnel.once('connect', (answer, socket: Socket) => {
      socket.setTimeout(0);
      if (answer.statusCode !== 200) {
        socket.destroy();
        connected(new ProxyRefusal(answer.statusCode ?? 0));
        return;
      }
      // A path would make tls open a socket of that name in place of the tunnel.
      connected(null, tlsConnect({ ...options, path: undefined, socket }));
    });
    tunnel.end();
    return undefined;
  }
}
