// A CONNECT proxy on loopback that leads every name to one TLS server, and that server, which calls itself
// hub.test and passes requests on to a plain HTTP hub, and those to another port to its CDN. A network that wants
// a login first takes such connections over with a certificate that nobody vouches for.

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
const tlsFile = (name: string): Promise<Buffer> =>
  readFile(new URL(`./tls/${name}`, import.meta.url));
/** Port of the encrypted CDN. */
const CDN_PORT = '8443';

export interface ProxyRig {
  /** `http://127.0.0.1:<port>` */
  url: string;
  /** `host:port` of each CONNECT, with the login it carried. */
  tunnels: { target: string; login: string | null }[];
  /** The status that CONNECT gets; 200 opens the tunnel. */
  status: number;
  /** How many of the next connections end at the network's own login page. */
  portal: number;
  /** The Authorization of each request that the login page got. */
  seenByPortal: (string | null)[];
  close(): Promise<void>;
}

/** `cdn`: reached encrypted as well, where redirects to it are rewritten; without it they stay as the hub made them. */
export async function startProxy(hub: string, cdn: string | null = null): Promise<ProxyRig> {
  const pem = { key: await tlsFile('key.pem'), cert: await tlsFile('cert.pem') };
  const tls = createTlsServer(pem, (request, response) => {
    const isForCdn = request.headers.host?.endsWith(`:${CDN_PORT}`) === true;
    passOn(isForCdn && cdn !== null ? cdn : hub, request, response, cdn);
  });
  const tlsPort = await listen(tls);
  const untrusted = {
    key: await tlsFile('portal-key.pem'),
    cert: await tlsFile('portal-cert.pem'),
  };
  const portal = createTlsServer(untrusted, (request, response) => {
    rig.seenByPortal.push(request.headers.authorization ?? null);
    response.end('<!DOCTYPE html><html><body>Welcome to the hotel network</body></html>');
  });
  const portalPort = await listen(portal);
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
    const isTaken = rig.portal > 0;
    if (isTaken) rig.portal -= 1;
    const onward = connect(isTaken ? portalPort : tlsPort, '127.0.0.1', () => {
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
    portal: 0,
    seenByPortal: [],
    close: async () => {
      const servers = [tls, portal, proxy];
      for (const server of servers) server.closeAllConnections();
      await Promise.all(servers.map((one) => new Promise((resolve) => one.close(resolve))));
    },
  };
  return rig;
}

function passOn(
  to: string,
  request: IncomingMessage,
  response: ServerResponse,
  cdn: string | null,
): void {
  const { hostname, port } = new URL(to);
  const onward = httpRequest(
    { hostname, port, method: request.method, path: request.url, headers: request.headers },
    (answer) => {
      const { location } = answer.headers;
      if (cdn !== null && location?.startsWith(cdn) === true) {
        answer.headers.location = location.replace(cdn, `https://hub.test:${CDN_PORT}`);
      }
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.once('error', () => response.destroy());
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
