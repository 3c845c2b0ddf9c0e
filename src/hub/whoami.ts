// Whether the Hub still takes a token. One request, to the Hub's own origin, and only where nobody can read along.

import { asFlashmoeError } from '../base/errors.js';
import { HttpClient } from './http.js';
import { Transient } from './retry.js';
import type { HubSettings } from './types.js';
import { isLoopback } from './urls.js';

export type TokenVerdict =
  | { state: 'valid' }
  /** The Hub knows it no longer, or never did. */
  | { state: 'refused'; status: number }
  /** Nothing was learnt: offline, an unencrypted endpoint, no answer in time. */
  | { state: 'unknown'; reason: string };

/** null without a token. Never throws for the network; the token is in no message. */
export async function tokenVerdict(
  settings: HubSettings,
  signal: AbortSignal,
): Promise<TokenVerdict | null> {
  const { token, endpoint } = settings;
  if (token === null) return null;
  const url = new URL(`${endpoint}/api/whoami-v2`);
  if (url.protocol !== 'https:' && !isLoopback(url)) {
    return { state: 'unknown', reason: `${url.origin} is not encrypted, nothing was sent` };
  }
  const http = new HttpClient(settings);
  try {
    const headers = { authorization: `Bearer ${token.value}` };
    const answer = await http.get({ url, headers, subject: 'the token', signal });
    answer.discard();
    if (answer.status === 200) return { state: 'valid' };
    if (answer.status === 401 || answer.status === 403) {
      return { state: 'refused', status: answer.status };
    }
    return { state: 'unknown', reason: `the hub answered ${answer.status}` };
  } catch (thrown) {
    const failure = thrown instanceof Transient ? thrown.failure : asFlashmoeError(thrown);
    return { state: 'unknown', reason: failure.message };
  } finally {
    http.close();
  }
}
