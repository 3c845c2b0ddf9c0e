// Who may ask. The server has no users, so what protects it is where it listens, the Host and Origin
// that browsers can't forge (DNS rebinding, foreign pages), and a key where one is set.

import { createHash, timingSafeEqual } from 'node:crypto';
import { ApiError } from './api-error.js';

export interface GuardOptions {
  apiKey: string | null;
  /** True when the server listens on a loopback address only. */
  loopback: boolean;
}

/** host.docker.internal is how a container names this machine; it resolves nowhere else. */
const LOCAL_NAMES = new Set(['localhost', '127.0.0.1', '[::1]', 'host.docker.internal']);
/** Schemes of desktop applications' own pages: no web site has them. */
const APP_SCHEMES = new Set(['app:', 'tauri:', 'vscode-webview:', 'vscode-file:']);

export function isLoopbackAddress(host: string): boolean {
  return /^(localhost|127(\.\d{1,3}){3}|\[?::1\]?)$/i.test(host);
}

export class Guard {
  constructor(private readonly options: GuardOptions) {}

  /** Throws 403 for a foreign Host or Origin, 401 for a missing or wrong key. */
  check(request: Request, url: URL, isPublic: boolean): void {
    if (this.options.loopback && !LOCAL_NAMES.has(url.hostname)) {
      throw new ApiError(403, `the server answers to localhost only, not to ${url.hostname}`, {
        code: 'host_not_allowed',
      });
    }
    const origin = request.headers.get('origin');
    if (origin !== null && !this.isAllowedOrigin(origin)) {
      throw new ApiError(403, `pages of ${origin} may not use this server without an API key`, {
        code: 'origin_not_allowed',
      });
    }
    if (!isPublic && request.method !== 'OPTIONS') this.#checkKey(request.headers);
  }

  /** Headers that let an allowed page read the answer. */
  corsHeaders(request: Request): Record<string, string> {
    const origin = request.headers.get('origin');
    if (origin === null || !this.isAllowedOrigin(origin)) return {};
    return {
      'access-control-allow-origin': origin,
      'access-control-allow-credentials': 'true',
      vary: 'Origin',
    };
  }

  isAllowedOrigin(origin: string): boolean {
    // With a key, the key decides: a foreign page doesn't have it.
    if (this.options.apiKey !== null) return true;
    if (!URL.canParse(origin)) return false;
    const { protocol, hostname } = new URL(origin);
    return APP_SCHEMES.has(protocol) || (/^https?:$/.test(protocol) && LOCAL_NAMES.has(hostname));
  }

  #checkKey(headers: Headers): void {
    const { apiKey } = this.options;
    if (apiKey === null) return;
    const bearer = /^Bearer (.+)$/i.exec(headers.get('authorization') ?? '')?.[1];
    const given = [bearer, headers.get('x-api-key')].filter((key) => typeof key === 'string');
    if (given.some((key) => isSame(key.trim(), apiKey))) return;
    throw new ApiError(401, given.length === 0 ? 'an API key is needed' : 'the API key is wrong', {
      code: 'invalid_api_key',
      headers: { 'www-authenticate': 'Bearer' },
    });
  }
}

/** Takes the same time for every wrong key; hashing makes the lengths equal. */
function isSame(a: string, b: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}
