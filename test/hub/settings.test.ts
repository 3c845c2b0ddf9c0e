import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { HubClient } from '../../src/hub/client.js';
import { DEFAULT_TIMEOUTS, hubSettings } from '../../src/hub/settings.js';
import { failureOf } from '../helpers/hub/rig.js';

let home: string;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'flashmoe-settings-'));
});
afterEach(() => rm(home, { recursive: true }));

const read = (env: Record<string, string>) =>
  hubSettings({ env, homeDirectory: home, userAgent: 'flashmoe/0' });
const tokenOf = async (env: Record<string, string>) => {
  const { token } = (await read(env)).settings;
  return token === null ? null : { value: token.value, source: token.source };
};
const put = async (path: string, text: string) => {
  const file = join(home, path);
  await mkdir(join(file, '..'), { recursive: true });
  await writeFile(file, text);
  return file;
};

test('an empty environment means the public hub, no token and no proxy', async () => {
  const { settings, notices } = await read({});
  expect(settings).toEqual({
    endpoint: 'https://huggingface.co',
    token: null,
    offline: false,
    userAgent: 'flashmoe/0',
    proxy: null,
    timeouts: DEFAULT_TIMEOUTS,
  });
  expect(notices).toEqual([]);
});

describe('the token', () => {
  test('is taken from the variables before the files, in the order of the ecosystem', async () => {
    const standard = await put('.cache/huggingface/token', 'hf_standard\n');
    expect(await tokenOf({})).toEqual({ value: 'hf_standard', source: standard });
    const xdg = await put('xdg/huggingface/token', 'hf_xdg');
    expect(await tokenOf({ XDG_CACHE_HOME: join(home, 'xdg') })).toEqual({
      value: 'hf_xdg',
      source: xdg,
    });
    const hfHome = await put('hf/token', ' hf_home \n');
    const env = { HF_HOME: join(home, 'hf'), XDG_CACHE_HOME: join(home, 'xdg') };
    expect(await tokenOf(env)).toEqual({ value: 'hf_home', source: hfHome });
    const path = await put('elsewhere', 'hf_path');
    expect(await tokenOf({ ...env, HF_TOKEN_PATH: path })).toMatchObject({ value: 'hf_path' });
    const older = { ...env, HUGGING_FACE_HUB_TOKEN: 'hf_older' };
    expect(await tokenOf(older)).toEqual({ value: 'hf_older', source: 'HUGGING_FACE_HUB_TOKEN' });
    expect(await tokenOf({ ...older, HF_TOKEN: 'hf_new\r\n' })).toEqual({
      value: 'hf_new',
      source: 'HF_TOKEN',
    });
  });

  test('need not begin with hf_, as mirrors have their own', async () => {
    expect(await tokenOf({ HF_TOKEN: 'eyJhbGciOi' })).toMatchObject({ value: 'eyJhbGciOi' });
  });

  test('is not sent when the user says so', async () => {
    await put('.cache/huggingface/token', 'hf_standard');
    const env = { HF_TOKEN: 'hf_x', HF_HUB_DISABLE_IMPLICIT_TOKEN: '1' };
    expect(await tokenOf(env)).toBeNull();
  });

  test('does not show when settings are printed', async () => {
    const { settings } = await read({ HF_TOKEN: 'hf_secret' });
    const shown = [JSON.stringify(settings), inspect(settings, { depth: 9 })].join();
    expect(shown).not.toContain('hf_secret');
    expect(shown).toContain('HF_TOKEN');
    expect(settings.token?.value).toBe('hf_secret');
  });

  test('with a line break inside is refused without being shown', async () => {
    const error = await failureOf(read({ HF_TOKEN: 'hf_a\nX-Evil: 1' }));
    expect(error.code).toBe('ERR_AUTH');
    expect(error.message).toBe('the token from HF_TOKEN holds characters no token has');
  });

  test('on its way over plain http to another machine is pointed out', async () => {
    const env = { HF_TOKEN: 'hf_x', HF_ENDPOINT: 'http://mirror.lan/' };
    expect((await read(env)).notices).toEqual([
      'the hub is http://mirror.lan (HF_ENDPOINT)',
      'the token from HF_TOKEN travels unencrypted to http://mirror.lan (HF_ENDPOINT)',
    ]);
  });
});

test.each([
  ['https://hub.example/', 'https://hub.example'],
  [' https://hub.example/hf/api// ', 'https://hub.example/hf/api'],
  ['http://127.0.0.1:8080', 'http://127.0.0.1:8080'],
  ['', 'https://huggingface.co'],
])('HF_ENDPOINT=%j is %s', async (text, endpoint) => {
  expect((await read({ HF_ENDPOINT: text })).settings.endpoint).toBe(endpoint);
});

test.each(['huggingface.co', 'ftp://x', 'https://u:p@x', 'https://x?y=1', 'https://x#y'])(
  'HF_ENDPOINT=%s is refused by name',
  async (text) => {
    expect(await failureOf(read({ HF_ENDPOINT: text }))).toMatchObject({
      code: 'ERR_USAGE',
      subject: 'HF_ENDPOINT',
    });
  },
);

test.each([
  ['1', true],
  ['TRUE', true],
  ['on', true],
  ['yes', true],
  ['0', false],
  ['', false],
  ['no', false],
])('HF_HUB_OFFLINE=%s means offline: %s', async (text, offline) => {
  expect((await read({ HF_HUB_OFFLINE: text })).settings.offline).toBe(offline);
  expect((await read({ TRANSFORMERS_OFFLINE: text })).settings.offline).toBe(offline);
});

test('timeouts are seconds', async () => {
  const env = { HF_HUB_DOWNLOAD_TIMEOUT: '7.5', HF_HUB_ETAG_TIMEOUT: '3' };
  const { timeouts } = (await read(env)).settings;
  expect(timeouts).toMatchObject({ idleMs: 7_500, responseMs: 3_000 });
  expect((await failureOf(read({ HF_HUB_ETAG_TIMEOUT: 'soon' }))).subject).toBe(
    'HF_HUB_ETAG_TIMEOUT',
  );
});

test('a proxy is announced without its login', async () => {
  const env = { HTTPS_PROXY: 'http://user:secret@proxy.lan:3128', NO_PROXY: 'a.lan, .B.lan' };
  const { settings, notices } = await read(env);
  expect(settings.proxy).toMatchObject({ source: 'HTTPS_PROXY', bypass: ['a.lan', '.b.lan'] });
  expect(notices).toEqual(['https goes through the proxy at proxy.lan:3128 (HTTPS_PROXY)']);
});

test('a SOCKS proxy is refused by name when a request would go through it, and not before', async () => {
  const { settings, notices } = await read({ ALL_PROXY: 'socks5h://127.0.0.1:1080' });
  expect(notices).toEqual([]);
  const client = new HubClient(settings);
  const task = { emit: () => undefined, signal: new AbortController().signal };
  const error = await failureOf(client.resolveCommit('org/name', 'main', task));
  expect(error).toMatchObject({ code: 'ERR_USAGE', subject: 'ALL_PROXY' });
  expect(error.message).toContain('SOCKS proxies are not supported');
});

test('certificates of the usual variables are trusted, and a file that holds none is named', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'certificates-'));
  const [good, bad] = [join(folder, 'ca.pem'), join(folder, 'none.pem')];
  const pem = '-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n';
  await writeFile(good, pem);
  await writeFile(bad, 'x');
  const env = { SSL_CERT_FILE: good, REQUESTS_CA_BUNDLE: bad };
  const { settings, notices } = await read(env);
  expect(settings.certificates).toEqual([pem]);
  expect(notices).toEqual([
    `${bad} (REQUESTS_CA_BUNDLE) holds no certificate that can be read; it is not used`,
  ]);
});
