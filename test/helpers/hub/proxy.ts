// A CONNECT proxy on loopback that leads every name to one TLS server, and that server, which calls itself
// hub.test and passes requests on to a plain HTTP hub.

import { readFile } from 'node:fs/promises';
import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { connect, type AddressInfo, type Server } from 'node:net';
import { fileURLToPath } from 'node:url';

export const CERTIFICATE = fileURLToPath(new URL('./tls/cert.pem', import.meta.url));
const KEY = new URL('./tls/key.pem', import.meta.url);

export interface ProxyRig {
  /** `http://127.0.0.1:<port>` */
  url: string;
  /** `host:port` of each CONNECT, with the login it carried. */
  tunnels: { target: string; login: string | null }[];
  /** The status that CONNECT gets; 200 opens the tunnel. */
  status: number;
  close(): Promise<void>;
}

export async function startProxy(hubEndpoint: string): Promise<ProxyRig> {
  const pem = { key: await readFile(KEY), cert: await readFile(CERTIFICATE) };
  const tls = createTlsServer(pem, (request, response) => passOn(hubEndpoint, request, response));
  const tlsPort = await listen(tls);
  const proxy = createServer((_request, response) => response.writeHead(400).end());
  proxy.on('connect', (request, socket, head) => {
    const header = request.headers['proxy-authorization'];
    const login = header?.replace(/^Basic /, '');
    rig.tunnels.push({
      target: request.url ?? '',
      login: login === undefined ? null : Buffer.from(login, 'base64').toString(),
    });
    if (rig.status !== 200) {
      socket.end(`HTTP/1.1 ${rig.status} No\r\nContent-Length: 0\r\n\r\n`);
      return;
    }
    const onward = connect(tlsPort, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      onward.write(head);
      onward.pipe(socket).pipe(onward);
    });
    onward.on('error', () => socket.destroy());
    socket.on('error', () => onward.destroy());
  });
  const rig: ProxyRig = {
    url: `http://127.0.0.1:${await listen(proxy)}`,
    tunnels: [],
    status: 200,
    close: async () => {
      tls.closeAllConnections();
      proxy.closeAllConnections();
      await Promise.all([tls, proxy].map((one) => new Promise((resolve) => one.close(resolve))));
    },
  };
  return rig;
}

function passOn(hubEndpoint: string, request: IncomingMessage, response: ServerResponse): void {
  const { hostname, port } = new URL(hubEndpoint);
  const onward = httpRequest(
    { hostname, port, method: request.method, path: request.url, headers: request.headers },
    (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    },
  );
  onward.once('error', () => response.destroy());
  request.pipe(onward);
}

function listen(server: Server): Promise<number> {
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port));
  });
}
