// One request, one answer: no redirects, no retries, no decompression, every wait bounded. Node's own client, since a
// night is a hundred thousand of these. What an answer means is decided above; here a broken line becomes a Transient.

import { once } from 'node:events';
import {
  Agent as HttpAgent,
  request as httpRequest,
  type ClientRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
} from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import { FlashmoeError } from '../base/errors.js';
import { monotonic } from '../base/host.js';
import { ConnectAgent } from './connect-agent.js';
import { networkFailure } from './network-failure.js';
import { waitFromHeaders } from './rate-limit.js';
import { interruption } from './retry.js';
import { paced } from './pace.js';
import type { HubSettings, Pace } from './types.js';
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
  readonly #https = new HttpsAgent({ keepAlive: true });
  readonly #tunnel: ConnectAgent | null;
  /** Per origin, the monotonic time after which requests may go out again. */
  readonly #heldUntil = new Map<string, number>();

  constructor(settings: HubSettings, pace: Pace | null = null) {
    this.#settings = settings;
    this.#pace = pace;
    this.#tunnel = settings.proxy === null ? null : new ConnectAgent(settings.proxy.url);
  }

  /** Sends a GET and resolves at the answer's headers. Throws ERR_OFFLINE, or Transient. */
  async get(request: HttpRequest): Promise<HttpAnswer> {
    const { url, signal, subject } = request;
    const { timeouts, userAgent } = this.#settings;
    this.#refuseWhenOffline(url);
    await this.#waitForTurn(url.origin, request);
    const proxied = goesThroughProxy(url, this.#settings.proxy);
    const headers = { 'user-agent': userAgent, 'accept-encoding': 'identity', ...request.headers };
    const sent =
      url.protocol === 'https:'
        ? httpsRequest(url, {
            headers,
            signal,
            agent: (proxied ? this.#tunnel : null) ?? this.#https,
          })
        : httpRequest(url, { headers, signal, agent: this.#http });
    const answer = await answerTo(sent, timeouts.responseMs).catch((error: unknown) => {
      sent.destroy();
      throw networkFailure(error, { url, subject, proxied });
    });
    // Without a body, as redirects are: over at once, so that the next request finds the connection free.
    if (answer.complete && answer.readableLength === 0) await once(answer.resume(), 'close');
    const { statusCode: status = 0, headers: received } = answer;
    if (status === 429) this.#hold(url.origin, waitFromHeaders(received) ?? 0);
    const body = watchedBody(answer, timeouts, (error) =>
      networkFailure(error, { url, subject, proxied }),
    );
    return {
      ...{ url, status, headers: received },
      // Outside the watch: what we hold back ourselves is no stall of the line.
      body: this.#pace === null ? body : paced(body, this.#pace, signal),
      discard: () => {
        answer.destroy();
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

function answerTo(sent: ClientRequest, responseMs: number): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(new Error(`no answer in ${responseMs / 1000} s`));
    }, responseMs);
    // Both stay after the promise is settled: a late error without a listener would end the process.
    sent.on('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
    sent.once('response', (answer: IncomingMessage) => {
      clearTimeout(timer);
      answer.on('error', reject);
      resolve(answer);
    });
    sent.end();
  });
}
