// Addresses that work for a while and only as they were given out, as a CDN's do.

import { monotonic } from '../base/host.js';
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';

export class SignedUrls {
  readonly #key = randomBytes(32);
  readonly #lifetimeMs: number;
  readonly #clock: () => number;

  /** `clock` is in milliseconds and never goes backwards. */
  constructor(lifetimeMs: number, clock: () => number = monotonic) {
    this.#lifetimeMs = lifetimeMs;
    this.#clock = clock;
  }

  /** `path` with an expiry and a signature in its query. */
  sign(path: string): string {
    const expires = String(Math.ceil(this.#clock() + this.#lifetimeMs));
    return `${path}?Expires=${expires}&Signature=${this.#signature(path, expires)}`;
  }

  isValid(url: URL): boolean {
    const expires = url.searchParams.get('Expires') ?? '';
    const given = Buffer.from(url.searchParams.get('Signature') ?? '');
    const right = Buffer.from(this.#signature(url.pathname, expires));
    return (
      given.length === right.length &&
      timingSafeEqual(given, right) &&
      Number(expires) >= this.#clock()
    );
  }

  #signature(path: string, expires: string): string {
    return createHmac('sha256', this.#key).update(`${path}\0${expires}`).digest('base64url');
  }
}
