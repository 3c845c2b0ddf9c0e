// The other server of two tiers, in the OpenAI dialect (Ollama, llama.cpp, LM Studio, …): what it has, and
// requests passed on to it, answers passed back as they come.

import { FlashmoeError } from '../../base/errors.js';
import { ApiError } from '../api-error.js';
import { isLoopbackAddress } from '../guard.js';
import type { FastModels } from './decide.js';

export interface UpstreamOptions {
  /** As clients write it, with /v1. */
  url: string;
  /** Null: the first that it lists. */
  model: string | null;
  apiKey: string | null;
  /** Milliseconds since the epoch. */
  now: () => number;
}

/** Milliseconds that a list of models is good for, and that the other server may take to tell it. */
const LIST_AGE = 60_000;
const LIST_PATIENCE = 2_000;
/** Milliseconds without a word, before the first byte of an answer and after it. */
const PATIENCE = 300_000;

/** Of an answer, what is passed on: no connection headers, cookies or permissions of another server. */
const PASSED = ['content-type', 'cache-control', 'retry-after', 'x-request-id'];

export class Upstream {
  #list: { models: FastModels | null; until: number } | null = null;
  readonly #base: string;

  /** ERR_USAGE for an address that can't be one, or that a key may not be sent to. */
  constructor(private readonly options: UpstreamOptions) {
    this.#base = checkedBase(options);
  }

  /** Null while it can't be reached. */
  async models(): Promise<FastModels | null> {
    const { model, now } = this.options;
    if (model !== null) return { first: model, all: new Set([model]) };
    if (this.#list !== null && this.#list.until > now()) return this.#list.models;
    const ids = await this.#listed().catch(() => []);
    const [first] = ids;
    const models = first === undefined ? null : { first, all: new Set(ids) };
    // A server that is down is asked again soon.
    this.#list = { models, until: now() + (models === null ? LIST_PATIENCE : LIST_AGE) };
    return models;
  }

  /**
   * @param path behind the base, e.g. /chat/completions
   * @returns its answer, whatever the status; rejects with a 502 ApiError when there is none
   */
  async ask(path: string, body: object, headers: Headers, signal: AbortSignal): Promise<Response> {
    const waiting = new AbortController();
    const timer = setTimeout(() => waiting.abort(), PATIENCE);
    const response = await fetch(this.#base + path, {
      method: 'POST',
      headers: { ...this.#key(), ...versionOf(headers), 'content-type': 'application/json' },
      body: JSON.stringify(body),
      // A redirect could lead the key, and what was said, to anywhere.
      redirect: 'manual',
      signal: AbortSignal.any([signal, waiting.signal]),
    })
      .catch((cause: unknown) => {
        if (signal.aborted) throw signal.reason;
        throw unreachable(reasonOf(cause));
      })
      .finally(() => clearTimeout(timer));
    if (response.status >= 300 && response.status < 400) {
      await response.body?.cancel();
      throw unreachable(`it answers ${response.status}, a redirect, which is not followed`);
    }
    const passed = PASSED.flatMap((name) => {
      const value = response.headers.get(name);
      return value === null ? [] : [[name, value] as const];
    });
    return new Response(response.body, {
      status: response.status,
      headers: { ...Object.fromEntries(passed), 'x-accel-buffering': 'no' },
    });
  }

  async #listed(): Promise<string[]> {
    const response = await fetch(`${this.#base}/models`, {
      headers: this.#key(),
      redirect: 'error',
      signal: AbortSignal.timeout(LIST_PATIENCE),
    });
    const body = (await response.json()) as { data?: { id?: unknown }[] };
    const ids = (body.data ?? []).map(({ id }) => id);
    return ids.filter((id): id is string => typeof id === 'string').slice(0, 1000);
  }

  #key(): Record<string, string> {
    const { apiKey } = this.options;
    return apiKey === null ? {} : { authorization: `Bearer ${apiKey}`, 'x-api-key': apiKey };
  }
}

/** The Messages API has a version in a header. */
function versionOf(headers: Headers): Record<string, string> {
  const version = headers.get('anthropic-version');
  return version === null ? {} : { 'anthropic-version': version };
}

export function unreachable(why: string): ApiError {
  return new ApiError(502, `the fast upstream does not answer: ${why}`, {
    type: 'upstream_error',
    code: 'upstream_unavailable',
  });
}

function reasonOf(thrown: unknown): string {
  const { cause, message } = thrown as Error;
  return cause instanceof Error ? cause.message : message;
}

function checkedBase({ url, apiKey }: UpstreamOptions): string {
  const refuse = (what: string, hint: string): never => {
    throw new FlashmoeError('ERR_USAGE', what, { hint, subject: 'fast-upstream' });
  };
  const example = 'give it like http://127.0.0.1:11434/v1';
  if (!URL.canParse(url)) return refuse(`the fast upstream ${url} is no address`, example);
  const { protocol, hostname, username, password, search, hash, href } = new URL(url);
  if (!/^https?:$/.test(protocol)) return refuse(`${protocol} is not http or https`, example);
  if (username !== '' || password !== '' || search !== '' || hash !== '') {
    return refuse('the fast upstream’s address holds more than host, port and path', example);
  }
  if (apiKey !== null && protocol === 'http:' && !isLoopbackAddress(hostname)) {
    return refuse(
      `the key for ${hostname} would cross the network unencrypted`,
      'use https, or a tunnel to a loopback address',
    );
  }
  return href.replace(/\/+$/, '');
}
