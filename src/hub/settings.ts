// The ecosystem's environment variables as hub settings. Meanings follow huggingface_hub, so a machine
// that is set up for `hf` needs nothing more. A token's value appears in no message from here.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FlashmoeError } from '../base/errors.js';
import type { HubProxy, HubSettings, HubTimeouts, HubToken } from './types.js';
import { isLoopback } from './urls.js';

export const DEFAULT_ENDPOINT = 'https://huggingface.co';

export const DEFAULT_TIMEOUTS: HubTimeouts = {
  responseMs: 30_000,
  idleMs: 30_000,
  floorBytesPerSecond: 1024,
  floorWindowMs: 60_000,
};

export interface EnvironmentInput {
  env: Readonly<Record<string, string | undefined>>;
  homeDirectory: string;
  /** e.g. `flashmoe/0.1.0; node/22.1.0`. */
  userAgent: string;
}

/**
 * Settings from the environment, and what the user should be told about them (an endpoint that isn't the
 * usual one, a proxy, a token that travels unencrypted). Throws ERR_USAGE naming the variable that is wrong.
 */
export async function hubSettings(
  input: EnvironmentInput,
): Promise<{ settings: HubSettings; notices: string[] }> {
  const { env } = input;
  const endpoint = readEndpoint(env);
  const token = isOn(env.HF_HUB_DISABLE_IMPLICIT_TOKEN)
    ? null
    : await findToken(env, input.homeDirectory);
  const { certificates, unread } = await readCertificates(env);
  const settings: HubSettings = {
    endpoint,
    token,
    offline: isOn(env.HF_HUB_OFFLINE) || isOn(env.TRANSFORMERS_OFFLINE),
    userAgent: input.userAgent,
    proxy: readProxy(env),
    ...(certificates.length === 0 ? {} : { certificates }),
    timeouts: {
      ...DEFAULT_TIMEOUTS,
      responseMs: readSeconds(env, 'HF_HUB_ETAG_TIMEOUT') ?? DEFAULT_TIMEOUTS.responseMs,
      idleMs: readSeconds(env, 'HF_HUB_DOWNLOAD_TIMEOUT') ?? DEFAULT_TIMEOUTS.idleMs,
    },
  };
  return { settings, notices: [...noticesOf(settings), ...unread] };
}

function noticesOf(settings: HubSettings): string[] {
  const url = new URL(settings.endpoint);
  const notices: string[] = [];
  if (settings.endpoint !== DEFAULT_ENDPOINT) {
    notices.push(`the hub is ${settings.endpoint} (HF_ENDPOINT)`);
  }
  if (settings.token !== null && url.protocol === 'http:' && !isLoopback(url)) {
    notices.push(
      `the token from ${settings.token.source} travels unencrypted to ${url.origin} (HF_ENDPOINT)`,
    );
  }
  if (settings.proxy !== null && settings.proxy.unsupported === undefined) {
    notices.push(
      `https goes through the proxy at ${settings.proxy.url.host} (${settings.proxy.source})`,
    );
  }
  return notices;
}

function readEndpoint(env: EnvironmentInput['env']): string {
  const text = env.HF_ENDPOINT?.trim();
  if (text === undefined || text === '') return DEFAULT_ENDPOINT;
  const url = URL.canParse(text) ? new URL(text) : null;
  const isPlain =
    url !== null &&
    (url.protocol === 'https:' || url.protocol === 'http:') &&
    url.username === '' &&
    url.password === '' &&
    url.search === '' &&
    url.hash === '';
  if (!isPlain) {
    throw new FlashmoeError('ERR_USAGE', 'HF_ENDPOINT is no plain http or https URL', {
      hint: `unset HF_ENDPOINT, or set it to something like ${DEFAULT_ENDPOINT}`,
      subject: 'HF_ENDPOINT',
    });
  }
  return url.href.replace(/\/+$/, '');
}

async function findToken(env: EnvironmentInput['env'], home: string): Promise<HubToken | null> {
  for (const name of ['HF_TOKEN', 'HUGGING_FACE_HUB_TOKEN']) {
    const value = env[name]?.trim();
    if (value !== undefined && value !== '') return makeToken(value, name);
  }
  const file = tokenFile(env, home);
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch {
    // No file, or one that isn't ours to read: the ecosystem treats both as logged out.
    return null;
  }
  return text.trim() === '' ? null : makeToken(text.trim(), file);
}

function tokenFile(env: EnvironmentInput['env'], home: string): string {
  if (env.HF_TOKEN_PATH) return env.HF_TOKEN_PATH;
  if (env.HF_HOME) return join(env.HF_HOME, 'token');
  return join(env.XDG_CACHE_HOME || join(home, '.cache'), 'huggingface', 'token');
}

function makeToken(value: string, source: string): HubToken {
  // Anything else could break out of the header, and Node would put it into an error text.
  if (!/^[\x21-\x7e]{1,1024}$/.test(value)) {
    throw new FlashmoeError('ERR_AUTH', `the token from ${source} holds characters no token has`, {
      hint: `write the token again, or unset it: ${source}`,
      subject: source,
    });
  }
  return Object.defineProperty({ source } as HubToken, 'value', { value, enumerable: false });
}

/** Node's own variable among them: it counts for requests that name no certificates, and these do. */
const CERTIFICATE_FILES = ['SSL_CERT_FILE', 'REQUESTS_CA_BUNDLE', 'NODE_EXTRA_CA_CERTS'];
const MOST_CERTIFICATES = 16 << 20;

async function readCertificates(
  env: EnvironmentInput['env'],
): Promise<{ certificates: string[]; unread: string[] }> {
  const [certificates, unread]: [string[], string[]] = [[], []];
  for (const name of CERTIFICATE_FILES) {
    const path = env[name]?.trim();
    if (path === undefined || path === '') continue;
    const text = await readFile(path, 'utf8').catch(() => '');
    const isPem = text.includes('-----BEGIN') && text.length <= MOST_CERTIFICATES;
    if (isPem) certificates.push(text);
    else unread.push(`${path} (${name}) holds no certificate that can be read; it is not used`);
  }
  return { certificates, unread };
}

function readProxy(env: EnvironmentInput['env']): HubProxy | null {
  for (const name of ['HTTPS_PROXY', 'https_proxy', 'ALL_PROXY', 'all_proxy']) {
    const text = env[name]?.trim();
    if (text === undefined || text === '') continue;
    const url = URL.canParse(text) ? new URL(text) : null;
    const isSocks = url !== null && /^socks[45]?[ah]?:$/.test(url.protocol);
    if (url === null || (!isSocks && url.protocol !== 'http:' && url.protocol !== 'https:')) {
      throw new FlashmoeError('ERR_USAGE', `${name} is no http or https proxy URL`, {
        hint: `set ${name} to http://host:port`,
        subject: name,
      });
    }
    const bypass = (env.NO_PROXY ?? env.no_proxy ?? '')
      .split(/[\s,]+/)
      .filter((part) => part !== '');
    return {
      ...{ url, source: name, bypass: bypass.map((part) => part.toLowerCase()) },
      ...(isSocks ? { unsupported: 'SOCKS proxies are not supported' } : {}),
    };
  }
  return null;
}

function readSeconds(env: EnvironmentInput['env'], name: string): number | null {
  const text = env[name]?.trim();
  if (text === undefined || text === '') return null;
  const seconds = Number(text);
  if (!(seconds > 0 && seconds <= 86_400)) {
    throw new FlashmoeError('ERR_USAGE', `${name} is no number of seconds between 0 and 86400`, {
      hint: `unset ${name}, or set it to a number of seconds`,
      subject: name,
    });
  }
  return seconds * 1000;
}

/** huggingface_hub's reading of a switch. */
function isOn(text: string | undefined): boolean {
  return ['1', 'on', 'yes', 'true'].includes(text?.trim().toLowerCase() ?? '');
}
