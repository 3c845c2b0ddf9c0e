// Requests to the Hub itself: the token goes along to its origin and nowhere else, redirects are followed
// by hand, and a token that is refused is dropped once, with a word about whose it was.

import { FlashmoeError } from '../base/errors.js';
import { hubFailure, type AskedFor } from './answer-errors.js';
import { HttpClient, type HttpAnswer, type HttpRequest } from './http.js';
import { Unreachable, UntrustedCertificate } from './network-failure.js';
import { Transient } from './retry.js';
import type { HubSettings, HubTask, HubToken, Pace } from './types.js';
import { printable } from './urls.js';

const REDIRECTS = new Set([301, 302, 303, 307, 308]);
const MOST_REDIRECTS = 5;

/** What the Hub's own answers say of a file, the one that redirects away included. */
export interface LinkHeaders {
  commit: string | null;
  linkedEtag: string | null;
  /** X-Linked-Etag, else the last ETag; as sent, with quotes. */
  etag: string | null;
  /** X-Linked-Size in bytes. */
  size: number | null;
}

export interface FinalAnswer {
  answer: HttpAnswer;
  links: LinkHeaders;
}

export interface HubRequest {
  url: URL;
  headers?: Record<string, string>;
  /** Sees the Hub's headers before a redirect is followed; what it throws ends the request. */
  check?: (links: LinkHeaders) => void;
  asked: Omit<AskedFor, 'endpoint' | 'tokenSource'>;
}

export class HubOrigin {
  readonly endpoint: string;
  readonly #http: HttpClient;
  readonly #origin: string;
  /** Origins that have answered, over a trusted line where it is encrypted. */
  readonly #met = new Set<string>();
  #token: HubToken | null;
  /** Files have come from here, by an earlier run perhaps: a redirect that they never took is none of the Hub's. */
  #hasServed: boolean;
  readonly #isKnown: boolean;

  /** `isKnown`: an earlier run of the same job has had answers, so that none of ours is the first contact. */
  constructor(settings: HubSettings, pace: Pace | null = null, isKnown = false) {
    this.endpoint = settings.endpoint;
    this.#http = new HttpClient(settings, pace);
    this.#isKnown = isKnown;
    this.#hasServed = isKnown;
    this.#origin = new URL(settings.endpoint).origin;
    this.#token = settings.token;
  }

  isOwn(url: URL): boolean {
    return url.origin === this.#origin;
  }

  /**
   * One request to any origin, as HttpClient.get. A certificate that nobody vouches for is final at the first
   * contact; where the line was trusted before it is a login page's, and Transient. Nothing is ever sent over it.
   */
  async send(request: HttpRequest): Promise<HttpAnswer> {
    const { origin } = request.url;
    try {
      const answer = await this.#http.get(request);
      this.#met.add(origin);
      return answer;
    } catch (error) {
      const isFirst = !this.#isKnown && this.#met.size === 0;
      if (error instanceof Unreachable && isFirst) throw error.failure;
      if (!(error instanceof UntrustedCertificate)) throw error;
      if (!this.#isKnown && !this.#met.has(origin)) throw error;
      throw behindLogin(request.subject, error.message.slice(request.subject.length + 2));
    }
  }

  /**
   * Follows redirects to a 2xx or 416 answer, which is the caller's to read or discard; a refusing CDN
   * answer (another origin) is returned as well. Throws the typed error of section 5, or Transient.
   */
  async get(request: HubRequest, task: HubTask): Promise<FinalAnswer> {
    const token = this.#token;
    const first = await this.#follow(request, token, task);
    if (first.answer.status !== 401 || token === null || !this.isOwn(first.answer.url)) {
      return await this.#accept(first, request, token);
    }
    // A stale token is refused even for public files: once without it, and then for good.
    first.answer.discard();
    const second = await this.#follow(request, null, task);
    if (second.answer.status < 400 && this.#token !== null) {
      this.#token = null;
      task.emit({
        type: 'notice',
        message: `the Hub refused the token from ${token.source}; going on without it, as ${request.asked.repo} is public (remove or renew that token)`,
      });
    }
    return await this.#accept(second, request, token);
  }

  close(): void {
    this.#http.close();
  }

  async #accept(
    final: FinalAnswer,
    request: HubRequest,
    token: HubToken | null,
  ): Promise<FinalAnswer> {
    const { answer } = final;
    if (answer.status < 300 || answer.status === 416 || !this.isOwn(answer.url)) {
      this.#hasServed ||= request.asked.path !== undefined;
      return final;
    }
    const tokenSource = token?.source ?? null;
    const failure = await hubFailure(answer, {
      ...request.asked,
      endpoint: this.endpoint,
      tokenSource,
    });
    answer.discard();
    throw failure;
  }

  async #follow(request: HubRequest, token: HubToken | null, task: HubTask): Promise<FinalAnswer> {
    const subject = request.asked.path ?? request.asked.repo;
    const links: LinkHeaders = { commit: null, linkedEtag: null, etag: null, size: null };
    const visited = new Set<string>();
    let url = request.url;
    for (;;) {
      visited.add(url.href);
      const headers = { ...request.headers };
      if (token !== null && this.isOwn(url)) headers.authorization = `Bearer ${token.value}`;
      const answer = await this.send({ url, headers, subject, signal: task.signal });
      if (this.isOwn(url)) collect(links, answer);
      if (!REDIRECTS.has(answer.status)) return { answer, links };
      answer.discard();
      request.check?.(links);
      url = nextUrl(answer, subject, this.#hasServed);
      if (visited.has(url.href))
        throw refusedRedirect(subject, answer.url, url, 'goes in a circle');
      if (visited.size > MOST_REDIRECTS) {
        throw refusedRedirect(
          subject,
          answer.url,
          url,
          `is more than the ${MOST_REDIRECTS}th in a row`,
        );
      }
    }
  }
}

/** `hasServed`: a redirect that gives up encryption is a network's that wants a login, which passes. */
function nextUrl(answer: HttpAnswer, subject: string, hasServed: boolean): URL {
  const { location } = answer.headers;
  if (location === undefined || !URL.canParse(location, answer.url.href)) {
    throw new FlashmoeError(
      'ERR_HTTP',
      `${subject}: ${printable(answer.url)} redirects to no address`,
      { subject },
    );
  }
  const url = new URL(location, answer.url);
  if (url.protocol !== 'https:' && (url.protocol !== 'http:' || answer.url.protocol === 'https:')) {
    if (hasServed && url.protocol === 'http:') {
      const [from, to] = [answer.url.host, url.host];
      throw behindLogin(subject, `${from} now leads to ${to} without encryption, not followed`);
    }
    throw refusedRedirect(subject, answer.url, url, 'gives up encryption');
  }
  return url;
}

function refusedRedirect(subject: string, from: URL, to: URL, why: string): FlashmoeError {
  return new FlashmoeError(
    'ERR_HTTP',
    `${subject}: the redirect from ${printable(from)} to ${printable(to)} ${why} and was not followed`,
    { subject },
  );
}

function behindLogin(subject: string, what: string): Transient {
  return new Transient(
    new FlashmoeError(
      'ERR_NETWORK',
      `${subject}: ${what} (a login page of the network in between?)`,
      { subject, hint: 'open a browser and log in to the network' },
    ),
  );
}

function collect(links: LinkHeaders, { headers }: HttpAnswer): void {
  const header = (name: string) => {
    const value = headers[name];
    return typeof value === 'string' ? value : null;
  };
  links.commit ??= header('x-repo-commit');
  links.linkedEtag ??= header('x-linked-etag');
  links.etag = links.linkedEtag ?? header('etag') ?? links.etag;
  const size = header('x-linked-size');
  if (size !== null && /^\d+$/.test(size)) links.size ??= Number(size);
}
