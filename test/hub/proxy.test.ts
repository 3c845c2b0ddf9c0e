import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { goesThroughProxy } from '../../src/hub/urls.js';
import { start } from '../helpers/child.js';
import { CERTIFICATE, startProxy, type ProxyRig } from '../helpers/hub/proxy.js';
import { SHARD } from '../helpers/hub/repo-folder.js';
import { REPO, useRig } from '../helpers/hub/rig.js';

const rig = useRig(10_000);
const PROGRAM = new URL('./programs/downloader.ts', import.meta.url);
let proxy: ProxyRig;

beforeAll(async () => {
  proxy = await startProxy(rig.hub.endpoint);
});
beforeEach(() => {
  proxy.tunnels.length = 0;
  proxy.status = 200;
});
afterAll(() => proxy.close());

/** Downloads through the proxy in a child process; resolves with its last line. */
async function download(path: string, env: Record<string, string> = {}): Promise<unknown> {
  const child = start(PROGRAM, [REPO, path, join(rig.folder, 'file')], {
    HF_ENDPOINT: 'https://hub.test',
    HTTPS_PROXY: proxy.url.replace('://', '://user:top%40secret@'),
    NODE_EXTRA_CA_CERTS: CERTIFICATE,
    HF_TOKEN: 'hf_secret',
    NO_PROXY: '',
    ...env,
  });
  let last = '';
  for (;;) {
    const line = await child.line().catch(() => null);
    if (line === null) break;
    last = line;
  }
  expect(last, child.stderr()).not.toBe('');
  return JSON.parse(last) as unknown;
}

test('https goes through the proxy with its login, and one tunnel serves several requests', async () => {
  expect(await download('config.json')).toMatchObject({ fetchedBytes: rig.repo.config.length });
  expect((await readFile(join(rig.folder, 'file'))).equals(rig.repo.config)).toBe(true);
  expect(proxy.tunnels).toEqual([{ target: 'hub.test:443', login: 'user:top@secret' }]);
  expect(rig.hub.log.length).toBeGreaterThan(2);
});

test('a redirect from https to http is refused', async () => {
  expect(await download(SHARD)).toMatchObject({
    code: 'ERR_HTTP',
    message: expect.stringContaining('gives up encryption and was not followed') as unknown,
  });
  expect(rig.hub.ranges('cdn')).toEqual([]);
});

test('a certificate nobody vouches for is named, and not retried', async () => {
  expect(await download('config.json', { NODE_EXTRA_CA_CERTS: '' })).toMatchObject({
    code: 'ERR_CERTIFICATE',
    message: expect.stringContaining('the certificate of https://hub.test/') as unknown,
    hint: expect.stringContaining('SSL_CERT_FILE') as unknown,
  });
  expect(proxy.tunnels).toHaveLength(1);
});

test('a proxy that refuses the login ends it at once, without showing the login', async () => {
  proxy.status = 407;
  const error = await download('config.json');
  expect(error).toMatchObject({ code: 'ERR_AUTH' });
  expect(JSON.stringify(error)).not.toMatch(/top|secret/);
  expect(proxy.tunnels).toHaveLength(1);
});

test('a proxy that has trouble is tried again', async () => {
  proxy.status = 502;
  expect(await download('config.json')).toMatchObject({ code: 'ERR_NETWORK' });
  expect(proxy.tunnels).toHaveLength(6);
});

test.each([
  ['https://huggingface.co/x', '', true],
  ['http://huggingface.co/x', '', false],
  ['https://127.0.0.1:1234/', '', false],
  ['https://localhost/', '', false],
  ['https://huggingface.co/x', '*', false],
  ['https://cdn.huggingface.co/x', 'huggingface.co', false],
  ['https://cdn.huggingface.co/x', '.huggingface.co', false],
  ['https://cdn.huggingface.co/x', '*.huggingface.co', false],
  ['https://nothuggingface.co/x', 'huggingface.co', true],
  ['https://hub.lan:8443/', 'hub.lan:8443', false],
  ['https://hub.lan/', 'hub.lan:8443', true],
])('%s with NO_PROXY=%s goes through the proxy: %s', (url, bypass, expected) => {
  const settings = { url: new URL('http://p'), source: 'HTTPS_PROXY', bypass: [bypass] };
  const rules = bypass === '' ? { ...settings, bypass: [] } : settings;
  expect(goesThroughProxy(new URL(url), rules)).toBe(expected);
  expect(goesThroughProxy(new URL(url), null)).toBe(false);
});
