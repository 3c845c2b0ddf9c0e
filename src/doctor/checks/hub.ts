import { DEFAULT_ENDPOINT, hubSettings } from '../../hub/settings.js';
import type { HubSettings } from '../../hub/types.js';
import { isLoopback } from '../../hub/urls.js';
import type { Check } from '../check.js';
import type { Finding } from '../finding.js';
import type { DoctorContext } from '../context.js';

function settingsOf({ host, version }: DoctorContext): ReturnType<typeof hubSettings> {
  const { env, homeDirectory } = host;
  return hubSettings({ env, homeDirectory, userAgent: `flashmoe/${version}` });
}

/** Where a token comes from, never what it is. Nothing is sent. */
export const token: Check = {
  id: 'hub.token',
  title: 'where the token for the hub comes from',
  timeoutMs: 5_000,
  async run(context) {
    const { token: found } = (await settingsOf(context)).settings;
    const id = 'hub.token';
    return [
      found
        ? { id, severity: 'ok', title: `a token from ${found.source} will be used` }
        : {
            id,
            severity: 'info',
            title: 'no token is set; public repositories need none',
            hint: 'for gated repositories: `hf auth login`, or set HF_TOKEN',
          },
    ];
  },
};

/** The effective endpoint, proxy and offline switch, with their sources and without credentials. */
export const endpoint: Check = {
  id: 'hub.endpoint',
  title: 'endpoint, proxy and offline switch in effect',
  timeoutMs: 5_000,
  async run(context) {
    const { settings } = await settingsOf(context);
    const url = new URL(settings.endpoint);
    const { token: found } = settings;
    if (found === null || url.protocol === 'https:' || isLoopback(url)) return [inEffect(settings)];
    return [
      inEffect(settings),
      {
        id: 'hub.plain_http',
        severity: 'warn',
        title: `the token from ${found.source} would travel unencrypted to ${url.origin}`,
        hint: 'set HF_ENDPOINT to an https address',
      },
    ];
  },
};

function inEffect({ endpoint: url, proxy, offline }: HubSettings): Finding {
  if (offline) {
    return {
      id: 'hub.offline',
      severity: 'info',
      title: 'offline by HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE: nothing will be downloaded',
      hint: 'unset HF_HUB_OFFLINE TRANSFORMERS_OFFLINE',
    };
  }
  const through =
    proxy === null ? 'without a proxy' : `through ${proxy.url.host} (${proxy.source})`;
  const source = url === DEFAULT_ENDPOINT ? '' : ' (HF_ENDPOINT)';
  return { id: 'hub.endpoint', severity: 'ok', title: `hub ${url}${source}, ${through}` };
}
