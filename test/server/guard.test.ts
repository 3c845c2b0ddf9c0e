import { describe, expect, test } from 'vitest';
import { ApiError } from '../../src/server/api-error.js';
import { Guard, isLoopbackAddress, type GuardOptions } from '../../src/server/guard.js';

const LOCAL: GuardOptions = { apiKey: null, loopback: true };
const KEYED: GuardOptions = { apiKey: 'secret', loopback: false };

interface Asked {
  url?: string;
  headers?: Record<string, string>;
  method?: string;
  isPublic?: boolean;
}

/** null: let through; else status and code. */
function verdict(options: GuardOptions, asked: Asked): [number, string | null, string] | null {
  const url = asked.url ?? 'http://localhost:11435/v1/models';
  const request = new Request(url, {
    method: asked.method ?? 'GET',
    headers: asked.headers ?? {},
  });
  try {
    new Guard(options).check(request, new URL(url), asked.isPublic ?? false);
    return null;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return [error.status, error.details.code ?? null, error.message];
  }
}

describe('a server on loopback without a key', () => {
  test.each(['localhost', '127.0.0.1', '[::1]', 'host.docker.internal'])(
    'answers to the name %s',
    (name) => {
      expect(verdict(LOCAL, { url: `http://${name}:11435/` })).toBeNull();
    },
  );

  test.each(['evil.example', '127.0.0.1.evil.example', '192.168.1.2', '127.0.0.2'])(
    'answers to no foreign name, for that is how a page gets past the browser: %s',
    (name) => {
      expect(verdict(LOCAL, { url: `http://${name}:11435/` })).toMatchObject([
        403,
        'host_not_allowed',
        expect.stringContaining(name),
      ]);
    },
  );

  test.each([
    'http://localhost:3000',
    'https://127.0.0.1',
    'app://obsidian.md',
    'tauri://localhost',
    'vscode-webview://abc',
    'vscode-file://vscode-app',
  ])('lets a page of this machine read: %s', (origin) => {
    expect(verdict(LOCAL, { headers: { origin } })).toBeNull();
    const request = new Request('http://localhost/', { headers: { origin } });
    expect(new Guard(LOCAL).corsHeaders(request)).toEqual({
      'access-control-allow-origin': origin,
      'access-control-allow-credentials': 'true',
      vary: 'Origin',
    });
  });

  test.each([
    'https://evil.example',
    'null',
    'file://',
    'ftp://localhost',
    'nohttp://localhost',
    'https://localhost.evil.example',
  ])('refuses a page of elsewhere: %s', (origin) => {
    expect(verdict(LOCAL, { headers: { origin } })).toMatchObject([
      403,
      'origin_not_allowed',
      expect.stringContaining(origin),
    ]);
    expect(
      new Guard(LOCAL).corsHeaders(new Request('http://localhost/', { headers: { origin } })),
    ).toEqual({});
  });

  test('gives no leave to a request that comes from no page', () => {
    expect(new Guard(LOCAL).corsHeaders(new Request('http://localhost/'))).toEqual({});
  });
});

describe('a server with a key', () => {
  const at = 'http://mac.local:11435/v1/models';

  test('answers to any name and any page, for these do not have the key', () => {
    const headers = { authorization: 'Bearer secret', origin: 'https://elsewhere.example' };
    expect(verdict(KEYED, { url: at, headers })).toBeNull();
  });

  test.each([
    { authorization: 'Bearer secret' },
    { authorization: 'bearer secret ' },
    { 'x-api-key': 'secret' },
    { authorization: 'Bearer other', 'x-api-key': 'secret' },
  ])('takes its key: %o', (headers) => {
    expect(verdict(KEYED, { url: at, headers: headers })).toBeNull();
  });

  test.each([
    [{}, 'an API key is needed'],
    [{ authorization: 'secret' }, 'an API key is needed'],
    [{ authorization: 'Bearer wrong' }, 'the API key is wrong'],
    [{ 'x-api-key': 'secrets' }, 'the API key is wrong'],
  ])('refuses all else: %o', (headers, message) => {
    const found = verdict(KEYED, { url: at, headers: headers });
    expect(found).toEqual([401, 'invalid_api_key', message]);
  });

  test('asks for it neither at public addresses nor before a page may ask', () => {
    expect(verdict(KEYED, { url: at, isPublic: true })).toBeNull();
    expect(verdict(KEYED, { url: at, method: 'OPTIONS' })).toBeNull();
    expect(verdict(KEYED, { url: at, method: 'POST' })?.[0]).toBe(401);
  });
});

test('only addresses of this machine are loopback', () => {
  for (const host of ['localhost', 'LOCALHOST', '127.0.0.1', '127.8.9.1', '::1', '[::1]']) {
    expect(isLoopbackAddress(host), host).toBe(true);
  }
  for (const host of ['0.0.0.0', '::', '128.0.0.1', 'localhost.example', '127.0.0.1.example']) {
    expect(isLoopbackAddress(host), host).toBe(false);
  }
});
