import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import type { HubEvent } from '../../src/hub/types.js';
import { start } from '../helpers/child.js';
import { answer, resetAfter } from '../helpers/hub/faults.js';
import { CERTIFICATE, startProxy, type ProxyRig } from '../helpers/hub/proxy.js';
import { SHARD } from '../helpers/hub/repo-folder.js';
import { REPO, useRig } from '../helpers/hub/rig.js';

const SIZE = 400_000;
const rig = useRig(SIZE);
const PROGRAM = new URL('./programs/downloader.ts', import.meta.url);
let proxy: ProxyRig;

beforeAll(async () => {
  proxy = await startProxy(rig.hub.endpoint, rig.hub.cdn);
});
beforeEach(() => {
  proxy.portal = 0;
  proxy.tunnels.length = 0;
  proxy.seenByPortal.length = 0;
});
afterAll(() => proxy.close());

/** Downloads the shard over TLS in a child; every line it printed. */
async function download(
  env: Record<string, string> = {},
): Promise<(HubEvent | { code: string })[]> {
  const child = start(PROGRAM, [REPO, SHARD, join(rig.folder, 'file')], {
    HF_ENDPOINT: 'https://hub.test',
    HTTPS_PROXY: proxy.url,
    NODE_EXTRA_CA_CERTS: CERTIFICATE,
    HF_TOKEN: 'hf_secret',
    NO_PROXY: '',
    ...env,
  });
  const lines: (HubEvent | { code: string })[] = [];
  for (;;) {
    const line = await child.line().catch(() => null);
    if (line === null) break;
    lines.push(JSON.parse(line) as HubEvent);
  }
  expect(lines.length, child.stderr()).toBeGreaterThan(0);
  return lines;
}

const reasons = (lines: object[]): string[] =>
  lines.flatMap((line) => ('reason' in line ? [String(line.reason)] : []));

test('a certificate that stops being trusted in the middle of a download is waited for, and nothing is sent over it', async () => {
  rig.hub.rule({
    on: 'cdn',
    times: 1,
    fault: async (exchange) => {
      proxy.portal = 2;
      await resetAfter(150_000)(exchange);
    },
  });
  const lines = await download();
  expect(lines.at(-1)).toMatchObject({ fetchedBytes: SIZE });
  const waits = reasons(lines).filter((reason) => reason.includes('is not trusted'));
  expect(waits).toHaveLength(2);
  expect(waits[0]).toMatch(/\(a login page of the network in between\?\)$/);
  expect(proxy.seenByPortal).toEqual([]);
});

test('a certificate that is not trusted at the first contact is an error', async () => {
  proxy.portal = 1;
  const lines = await download();
  expect(lines).toMatchObject([{ code: 'ERR_CERTIFICATE' }]);
  expect(proxy.tunnels).toHaveLength(1);
});

test('a redirect that gives up encryption in the middle of a download is waited for and never followed', async () => {
  rig.hub.rule({ on: 'cdn', times: 1, fault: resetAfter(150_000) });
  // The signed address has had its time, so the Hub is asked again, where the network answers.
  rig.hub.rule({ on: 'cdn', times: 1, fault: answer(403) });
  let served = 0;
  rig.hub.rule({
    on: 'hub',
    path: /resolve/,
    fault: (exchange) => {
      served += 1;
      if (served !== 2 && served !== 3) return exchange.send();
      const headers = { location: 'http://login.test/', 'content-length': 0 };
      exchange.send({ status: 302, headers, body: Buffer.of() });
    },
  });
  const lines = await download();
  expect(lines.at(-1)).toMatchObject({ fetchedBytes: SIZE });
  const waits = reasons(lines).filter((reason) => reason.includes('without encryption'));
  expect(waits).toHaveLength(2);
  expect(new Set(proxy.tunnels.map(({ target }) => target))).toEqual(
    new Set(['hub.test:443', 'hub.test:8443']),
  );
});

test('the token goes to the hub alone, however often the line breaks', async () => {
  rig.hub.rule({ on: 'cdn', times: 3, fault: resetAfter(50_000) });
  expect((await download()).at(-1)).toMatchObject({ fetchedBytes: SIZE });
  const carried = rig.hub.log.map(({ side, headers }) => [side, headers.authorization]);
  expect(carried.filter(([side]) => side === 'cdn').length).toBeGreaterThan(3);
  for (const [side, token] of carried) {
    expect(token).toBe(side === 'hub' ? 'Bearer hf_secret' : undefined);
  }
});
