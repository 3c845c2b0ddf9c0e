// A hub whose answers a test can spoil: the bundled hub behind two real HTTP servers (the Hub and its CDN),
// with rules that replace, cut, delay or falsify what passes, and a log of every request.

import {
  createServer,
  request as httpRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  startBundledHub,
  type BundledHub,
  type BundledHubOptions,
} from '../../../src/hub/bundled-hub.js';

export type Side = 'hub' | 'cdn';

export interface LoggedRequest {
  side: Side;
  method: string;
  /** Decoded path without the query. */
  path: string;
  query: string;
  headers: IncomingHttpHeaders;
  /** Of the Range header; end is exclusive. */
  range: { start: number; end: number } | null;
  /** Bytes of body handed to the socket so far. */
  sent: number;
}

export interface Upstream {
  status: number;
  headers: OutgoingHttpHeaders;
  body: Buffer;
}

export interface Exchange extends Upstream {
  request: LoggedRequest;
  response: ServerResponse;
  hub: FaultHub;
  /** 1 for the first time that this rule applies. */
  time: number;
  /** The same request with other headers (null removes one). */
  upstream: (changes?: Record<string, string | null>) => Promise<Upstream>;
  /** Writes head and body as they now are and ends. */
  send: (answer?: Partial<Upstream>) => void;
}

export type Fault = (exchange: Exchange) => void | Promise<void>;

export interface Rule {
  on: Side;
  /** Matches the decoded path; default: every request of that side. */
  path?: RegExp;
  /** How many matching requests pass untouched first. */
  after?: number;
  /** How often it applies; default: always. */
  times?: number;
  fault: Fault;
}

export class FaultHub {
  readonly log: LoggedRequest[] = [];
  endpoint = '';
  cdn = '';
  readonly #bundled: BundledHub;
  readonly #rules: { rule: Rule; seen: number }[] = [];
  readonly #servers: Server[] = [];

  private constructor(bundled: BundledHub) {
    this.#bundled = bundled;
  }

  static async start(folder: string, repo: string, options?: BundledHubOptions): Promise<FaultHub> {
    const hub = new FaultHub(await startBundledHub(folder, repo, options));
    hub.endpoint = await hub.#listen('hub');
    hub.cdn = await hub.#listen('cdn');
    return hub;
  }

  get repo(): string {
    return this.#bundled.repo;
  }

  get commit(): string {
    return this.#bundled.commit;
  }

  /** Adds a rule; the first that matches and isn't used up is applied. */
  rule(rule: Rule): void {
    this.#rules.push({ rule, seen: 0 });
  }

  /** Forgets rules and log. */
  reset(): void {
    this.#rules.length = 0;
    this.log.length = 0;
  }

  /** Ranges asked for whose path matches, in order. */
  ranges(side: Side, path = /./): ({ start: number; end: number } | null)[] {
    return this.log
      .filter((one) => one.side === side && path.test(one.path))
      .map((one) => one.range);
  }

  async close(): Promise<void> {
    await Promise.all(
      this.#servers.map(
        (server) =>
          new Promise<void>((resolve) => {
            server.close(() => resolve());
            server.closeAllConnections();
          }),
      ),
    );
    await this.#bundled.close();
  }

  async #listen(side: Side): Promise<string> {
    const server = createServer((request, response) => {
      this.#answer(side, request, response).catch((error: unknown) => {
        response.destroy(error instanceof Error ? error : undefined);
      });
    });
    this.#servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  async #answer(side: Side, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://any');
    const logged: LoggedRequest = {
      side,
      method: request.method ?? '',
      path: decodeURIComponent(url.pathname),
      query: url.search,
      headers: request.headers,
      range: rangeOf(request.headers.range),
      sent: 0,
    };
    this.log.push(logged);
    countSent(response, logged);
    const upstream = (changes = {}) => this.#upstream(side, request, changes);
    const answer = await upstream();
    const exchange: Exchange = {
      ...answer,
      request: logged,
      response,
      hub: this,
      time: 1,
      upstream,
      send: (other = {}) => {
        const { status, headers, body } = { ...exchange, ...other };
        response.writeHead(status, headers).end(body);
      },
    };
    const applied = this.#ruleFor(logged);
    if (applied === null) return exchange.send();
    exchange.time = applied.time;
    await applied.rule.fault(exchange);
  }

  #ruleFor({ side, path }: LoggedRequest): { rule: Rule; time: number } | null {
    for (const entry of this.#rules) {
      const { rule } = entry;
      if (rule.on !== side || !(rule.path ?? /./).test(path)) continue;
      // Later rules count only what reaches them, so that rules in a row make a script.
      entry.seen += 1;
      const time = entry.seen - (rule.after ?? 0);
      if (time >= 1 && time <= (rule.times ?? Infinity)) return { rule, time };
    }
    return null;
  }

  #upstream(
    side: Side,
    request: IncomingMessage,
    changes: Record<string, string | null>,
  ): Promise<Upstream> {
    const target = side === 'hub' ? this.#bundled.endpoint : this.#bundled.cdn;
    const { host, hostname, port } = new URL(target);
    const headers: OutgoingHttpHeaders = { ...request.headers, host, connection: 'close' };
    for (const [name, value] of Object.entries(changes)) {
      if (value === null) delete headers[name];
      else headers[name] = value;
    }
    return new Promise((resolve, reject) => {
      const passed = httpRequest(
        { hostname, port, method: request.method, path: request.url, headers },
        (answer) => {
          const parts: Buffer[] = [];
          answer.on('data', (part: Buffer) => parts.push(part));
          answer.once('error', reject);
          answer.once('end', () => {
            resolve({
              status: answer.statusCode ?? 0,
              headers: this.#ownNames(answer.headers),
              body: Buffer.concat(parts),
            });
          });
        },
      );
      passed.once('error', reject);
      request.pipe(passed);
    });
  }

  #ownNames(headers: IncomingHttpHeaders): OutgoingHttpHeaders {
    const own = (text: string) =>
      text
        .replaceAll(this.#bundled.endpoint, this.endpoint)
        .replaceAll(this.#bundled.cdn, this.cdn);
    const kept = without(headers, 'connection', 'keep-alive');
    return Object.fromEntries(
      Object.entries(kept).map(([name, value]) => [
        name,
        typeof value === 'string' ? own(value) : value,
      ]),
    );
  }
}

/** Headers but for these names. */
export function without(headers: OutgoingHttpHeaders, ...names: string[]): OutgoingHttpHeaders {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !names.includes(name)));
}

function rangeOf(header: string | undefined): LoggedRequest['range'] {
  const match = /^bytes=(\d+)-(\d+)$/.exec(header ?? '');
  return match === null ? null : { start: Number(match[1]), end: Number(match[2]) + 1 };
}

function countSent(response: ServerResponse, logged: LoggedRequest): void {
  const count = (chunk: unknown) => {
    if (Buffer.isBuffer(chunk)) logged.sent += chunk.length;
  };
  const write = response.write.bind(response) as (...args: unknown[]) => boolean;
  const end = response.end.bind(response) as (...args: unknown[]) => ServerResponse;
  response.write = (...args: unknown[]) => {
    count(args[0]);
    return write(...args);
  };
  response.end = (...args: unknown[]) => {
    count(args[0]);
    return end(...args);
  };
}
