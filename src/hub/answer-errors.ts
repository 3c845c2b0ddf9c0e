// What a refusing answer means: status and X-Error-Code in, a typed error with one action out.

import { FlashmoeError, type ErrorCode } from '../base/errors.js';
import type { HttpAnswer } from './http.js';
import { waitFromHeaders } from './rate-limit.js';
import { Transient } from './retry.js';
import { printable } from './urls.js';

export interface AskedFor {
  endpoint: string;
  repo: string;
  revision: string;
  /** Set when one file was asked for. */
  path?: string;
  /** Where the token came from that was refused or sent; null when there was none. */
  tokenSource: string | null;
}

/** Whether a status may be another one a while later: all of 5xx is trouble of the server or of a network in between. */
export function mayPass(status: number): boolean {
  return status >= 500 || status === 408 || status === 425 || status === 429;
}

/** The error for any answer of the Hub's origin that is neither 2xx nor a redirect. Reads at most 4 KiB of its body. */
export async function hubFailure(
  answer: HttpAnswer,
  asked: AskedFor,
): Promise<FlashmoeError | Transient> {
  const { status, headers } = answer;
  const code = text(headers['x-error-code']);
  const said = text(headers['x-error-message']) || (await saidInBody(answer));
  const { repo } = asked;
  const fail = (errorCode: ErrorCode, message: string, hint?: string) =>
    new FlashmoeError(errorCode, `${message}${requestId(answer)}`, {
      hint,
      subject: asked.path ?? repo,
    });
  if (mayPass(status)) return transient(answer, asked.path ?? repo);
  if (status === 407) {
    return fail('ERR_AUTH', 'the proxy wants a user and a password', 'put them into HTTPS_PROXY');
  }
  // Who is not logged in is told so with 401, who has not accepted the licence with 403.
  if (code === 'GatedRepo' || (status === 403 && /gated|restricted/i.test(said))) {
    const page = `${asked.endpoint}/${repo}`;
    return asked.tokenSource === null
      ? fail(
          'ERR_AUTH',
          `${repo} is gated and no token was sent`,
          `accept the licence at ${page}, then set HF_TOKEN to a token of that account`,
        )
      : fail(
          'ERR_AUTH',
          `${repo} is gated and the token from ${asked.tokenSource} has no access to it`,
          `accept the licence at ${page}; a fine-grained token also needs read access to gated repositories`,
        );
  }
  if (status === 401) return unauthorised(asked, fail);
  if (status === 403 && /disabled/i.test(said)) {
    return fail(
      'ERR_HTTP',
      `${repo} was disabled by the Hub`,
      'choose another model: flashmoe models',
    );
  }
  if (status === 404) return notFound(code, asked, fail);
  return fail(
    'ERR_HTTP',
    `${printable(answer.url)} answered ${status}${said === '' ? '' : `: ${said}`}`,
  );
}

/** The failure of an answer that may be another one a while later. */
export function transient(answer: HttpAnswer, subject: string): Transient {
  const { status } = answer;
  const what =
    status === 429 ? 'the server asks for fewer requests (429)' : `the server answered ${status}`;
  const failure = new FlashmoeError('ERR_NETWORK', `${subject}: ${what}${requestId(answer)}`, {
    hint: 'run the command again later, it continues from there',
    subject,
  });
  const waitMs = status === 429 || status === 503 ? waitFromHeaders(answer.headers) : undefined;
  return new Transient(failure, waitMs === undefined ? {} : { waitMs });
}

type Fail = (code: ErrorCode, message: string, hint?: string) => FlashmoeError;

function unauthorised({ repo, tokenSource }: AskedFor, fail: Fail): FlashmoeError {
  // The Hub answers alike for these three, so as not to tell which private repositories exist.
  const causes = 'it does not exist, is private, or is gated';
  return tokenSource === null
    ? fail(
        'ERR_AUTH',
        `${repo} can't be read without a token: ${causes}`,
        'check the name; for a private or gated repository set HF_TOKEN',
      )
    : fail(
        'ERR_AUTH',
        `${repo} can't be read, neither with the token from ${tokenSource} nor without one: ${causes}`,
        `check the name, and whether the token from ${tokenSource} is still valid`,
      );
}

function notFound(code: string, asked: AskedFor, fail: Fail): FlashmoeError {
  const { repo, revision, path } = asked;
  if (code === 'RevisionNotFound') {
    return fail(
      'ERR_REVISION',
      `${repo} has no revision ${revision}`,
      'name a branch, tag or commit that exists, or leave the revision out',
    );
  }
  if (code === 'EntryNotFound' || (path !== undefined && code === '')) {
    return fail('ERR_NOT_FOUND', `${repo} has no file ${path ?? ''} at ${revision}`);
  }
  return fail(
    'ERR_NOT_FOUND',
    `there is no repository ${repo}`,
    'check the name: organisation/name',
  );
}

async function beginningOf(answer: HttpAnswer): Promise<string> {
  let body = '';
  for await (const chunk of answer.body) {
    body += chunk.toString('utf8');
    if (body.length >= 4096) break;
  }
  return body;
}

/** What a storage says in its own words, e.g. `AccessDenied: Request has expired`; empty when it says nothing. */
export async function saidByStorage(answer: HttpAnswer): Promise<string> {
  const body = await beginningOf(answer).catch(() => '');
  const words = ['Code', 'Message'].map((tag) => {
    const [, found = ''] = new RegExp(`<${tag}>([^<]{1,200})</${tag}>`).exec(body) ?? [];
    return text(found).trim();
  });
  return words.filter((word) => word !== '').join(': ');
}

async function saidInBody(answer: HttpAnswer): Promise<string> {
  try {
    const body = await beginningOf(answer);
    const parsed: unknown = JSON.parse(body);
    const said = (parsed as { error?: unknown } | null)?.error;
    return typeof said === 'string' ? text(said) : '';
  } catch {
    // The status alone has to do: an error page that isn't JSON tells a user nothing.
    return '';
  }
}

function requestId({ headers }: HttpAnswer): string {
  const id = text(headers['x-request-id'] ?? headers['x-amzn-trace-id'] ?? headers['x-amz-cf-id']);
  return id === '' ? '' : ` [request ${id}]`;
}

/** A header as one printable line. */
function text(value: string | string[] | undefined): string {
  const single = Array.isArray(value) ? (value[0] ?? '') : (value ?? '');
  return single.replace(/[^\x20-\x7e]/g, ' ').slice(0, 300);
}
