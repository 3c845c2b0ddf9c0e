// One request, one answer, over got: no redirects, no retries, no decompression, every wait bounded.
// What an answer means is decided above; here a broken line becomes a Transient.

import { Agent as HttpAgent, type IncomingHttpHeaders } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import { rootCertificates } from 'node:tls';
import { setTimeout as sleep } from 'node:timers/promises';
import got, { type Request } from 'got';
import { FlashmoeError } from '../base/errors.js';
import { monotonic } from '../base/host.js';
import { ConnectAgent } from './connect-agent.js';
import { networkFailure } from './network-failure.js';
import { waitFromHeaders } from './rate-limit.js';
import { interruption } from './retry.js';
import { paced } from './pace.js';
import type { HubProxy, HubSettings, Pace } from './types.js';
import { goesThroughProxy, isLoopback, printable } from './urls.js';
import { watchedBody } from './watched-body.js';

export interface HttpAnswer {
  url: URL;
  status: number;
  headers: IncomingHttpHeaders;
  /** Raw bytes in order; throws Transient when the line breaks, stalls or crawls. Read once. */
  body: AsyncGenerator<Buffer, void, void>;
  /** Closes the connection unless the body has been read to its end. */
  discard(): void;
}

export interface HttpRequest {
  url: URL;
  headers: Record<string, string>;
  /** Named in messages, e.g. the file. */
  subject: string;
  signal: AbortSignal;
}

export class HttpClient {
  readonly #settings: HubSettings;
  readonly #pace: Pace | null;
  readonly #http = new HttpAgent({ keepAlive: true });
  readonly #https: HttpsAgent;
  readonly #tunnel: ConnectAgent | null;
  /** Per origin, the monotonic time after which requests may go out again. */
  readonly #heldUntil = new Map<string, number>();

  constructor(settings: HubSettings, pace: Pace | null = null) {
    this.#settings = settings;
    this.#pace = pace;
    const { proxy, certificates } = settings;
    // Named ones replace the built-in ones, so both are named.
    const trust = certificates === undefined ? {} : { ca: [...rootCertificates, ...certificates] };
    this.#https = new HttpsAgent({ keepAlive: true, ...trust });
    const hasTunnel = proxy !== null && proxy.unsupported === undefined;
    this.#tunnel = hasTunnel ? new ConnectAgent(proxy.url, trust) : null;
  }

  /** Sends a GET and resolves at the answer's headers. Throws ERR_OFFLINE, or Transient. */
  async get(request: HttpRequest): Promise<HttpAnswer> {
    const { url, signal, subject } = request;
    const { timeouts, userAgent } = this.#settings;
    this.#refuseWhenOffline(url);
    await this.#waitForTurn(url.origin, request);
    const proxied = goesThroughProxy(url, this.#settings.proxy);
    if (proxied) requireSupported(this.#settings.proxy);
    const stream = got.stream(url, {
      headers: { 'user-agent': userAgent, 'accept-encoding': 'identity', ...request.headers },
      agent: { http: this.#http, https: proxied && this.#tunnel ? this.#tunnel : this.#https },
      followRedirect: false,
      throwHttpErrors: false,
      decompress: false,
      retry: { limit: 0 },
      signal,
    });
    const head = await headOf(stream, timeouts.responseMs).catch((error: unknown) => {
      stream.destroy();
      throw networkFailure(error, { url, subject, proxied });
    });
    if (head.status === 429) this.#hold(url.origin, waitFromHeaders(head.headers) ?? 0);
    const body = watchedBody(stream, timeouts, (error) =>
      networkFailure(error, { url, subject, proxied }),
    );
    return {
      url,
      ...head,
      // Outside the watch: what we hold back ourselves is no stall of the line.
      body: this.#pace === null ? body : paced(body, this.#pace, signal),
      discard: () => {
        stream.destroy();
      },
    };
  }

  /** Closes idle connections. */
  close(): void {
    this.#http.destroy();
    this.#https.destroy();
    this.#tunnel?.destroy();
  }

  /** A server that limits one request limits them all: asking on meanwhile only lengthens the ban. */
  #hold(origin: string, waitMs: number): void {
    const until = monotonic() + waitMs;
    this.#heldUntil.set(origin, Math.max(until, this.#heldUntil.get(origin) ?? 0));
  }

  async #waitForTurn(origin: string, { signal, subject }: HttpRequest): Promise<void> {
    for (;;) {
      const waitMs = (this.#heldUntil.get(origin) ?? 0) - monotonic();
      if (waitMs <= 0) return;
      await sleep(waitMs, undefined, { signal }).catch(() => {
        throw interruption(signal, subject);
      });
    }
  }

  #refuseWhenOffline(url: URL): void {
    if (!this.#settings.offline || isLoopback(url)) return;
    throw new FlashmoeError(
      'ERR_OFFLINE',
      `${printable(url)} was not asked for: HF_HUB_OFFLINE is set; nothing was changed`,
      { hint: 'unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE, then run the command again' },
    );
  }
}

/** Only when a request would go through it: what needs no network minds no proxy. */
function requireSupported(proxy: HubProxy | null): void {
  if (proxy?.unsupported === undefined) return;
  const { source, unsupported } = proxy;
  throw new FlashmoeError(
    'ERR_USAGE',
    `${source} names a proxy that can't be used: ${unsupported}`,
    {
      hint: `set HTTPS_PROXY to an http proxy (http://host:port), or unset ${source}`,
      subject: source,
    },
  );
}

function headOf(
  stream: Request,
  responseMs: number,
): Promise<{ status: number; headers: IncomingHttpHeaders }> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(new Error(`no answer in ${responseMs / 1000} s`));
    }, responseMs);
    // Stays after the promise is settled: a late error without a listener would end the process.
    stream.on('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
    stream.once('response', (response: { statusCode: number; headers: IncomingHttpHeaders }) => {
      clearTimeout(timer);
      resolve({ status: response.statusCode, headers: response.headers });
    });
  });
}
