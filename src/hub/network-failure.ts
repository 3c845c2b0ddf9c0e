// A broken line in words: what the operating system, TLS or the proxy said, and whether waiting helps.

import { FlashmoeError } from '../base/errors.js';
import { ProxyRefusal } from './connect-agent.js';
import { Transient } from './retry.js';
import { printable } from './urls.js';

const WORDS: Readonly<Record<string, string>> = {
  ECONNRESET: 'the connection was reset',
  ECONNREFUSED: 'the connection was refused',
  ENOTFOUND: 'the host name was not found',
  EAI_AGAIN: 'the name server did not answer',
  ENETUNREACH: 'the network is unreachable',
  EHOSTUNREACH: 'the host is unreachable',
  ETIMEDOUT: 'the connection timed out',
  EPIPE: 'the connection was closed',
};

/** Nobody vouches for the other end: final at the first contact, a network in between where it was trusted before. */
export class UntrustedCertificate extends FlashmoeError {}

/** No way to the host: at the first contact nobody gains by waiting, later a network comes back. */
export class Unreachable extends Transient {}

const NO_WAY = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'ENETUNREACH', 'EHOSTUNREACH']);

export interface FailureContext {
  url: URL;
  subject: string;
  proxied: boolean;
}

/** The error to throw for anything that a request or its body threw. Keeps no request options: they hold the token. */
export function networkFailure(
  thrown: unknown,
  context: FailureContext,
): Transient | FlashmoeError {
  const { subject, proxied } = context;
  const where = printable(context.url);
  const refusal = findRefusal(thrown);
  if (refusal !== null) return proxyFailure(refusal, subject);
  const error = thrown instanceof Error ? thrown : new Error(String(thrown));
  const { code = '' } = error as NodeJS.ErrnoException;
  if (/^(CERT_|DEPTH_|SELF_SIGNED|UNABLE_TO_|ERR_TLS_CERT)/.test(code)) {
    return new UntrustedCertificate(
      'ERR_CERTIFICATE',
      `${subject}: the certificate of ${where} is not trusted (${code})`,
      {
        hint: 'log in to the network if it asks for that in a browser; if it inspects TLS, point SSL_CERT_FILE at its certificate',
        subject,
        resumable: false,
      },
    );
  }
  const words = WORDS[code] ?? error.message;
  const through = proxied ? ' through the proxy' : '';
  const failure = new FlashmoeError('ERR_NETWORK', `${subject}: ${words}${through} (${where})`, {
    hint: 'run the command again when the network is back, it continues from there',
    subject,
  });
  return NO_WAY.has(code) ? new Unreachable(failure) : new Transient(failure);
}

function proxyFailure(refusal: ProxyRefusal, subject: string): Transient | FlashmoeError {
  const message = `${subject}: ${refusal.message}`;
  if (refusal.statusCode === 407) {
    return new FlashmoeError('ERR_AUTH', message, {
      hint: 'put the proxy user and password into HTTPS_PROXY',
      subject,
    });
  }
  return new Transient(new FlashmoeError('ERR_NETWORK', message, { subject }));
}

function findRefusal(thrown: unknown): ProxyRefusal | null {
  for (let error = thrown; error instanceof Error; error = error.cause) {
    if (error instanceof ProxyRefusal) return error;
  }
  return null;
}
