import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { HubClient } from '../../src/hub/client.js';
import type { HubSettings } from '../../src/hub/types.js';
import {
  answer,
  endAfter,
  expired,
  flipByte,
  ignoreRange,
  loginPage,
  resetAtOnce,
  rewriteJson,
  withHeaders,
} from '../helpers/hub/faults.js';
import { FaultHub, type Fault } from '../helpers/hub/fault-hub.js';
import { SHARD } from '../helpers/hub/repo-folder.js';
import { failureOf, REPO, useRig } from '../helpers/hub/rig.js';
import { recordingTask, testSettings } from '../helpers/hub/settings.js';

const SIZE = 100_000;
const rig = useRig(SIZE);
const SECRET = 'hf_secretsecretsecret';
const withToken: Partial<HubSettings> = { token: { value: SECRET, source: 'HF_TOKEN' } };

const list = (client: HubClient, task = recordingTask()) => client.list(REPO, 'main', task);

/** 401 whenever a token is sent, as the Hub answers for one that expired. */
const refuseToken: Fault = (exchange) => {
  if (exchange.request.headers.authorization === undefined) exchange.send();
  else {
    void answer(401, { 'x-error-message': 'Invalid credentials in Authorization header' })(
      exchange,
    );
  }
};

describe('the token', () => {
  test('is sent to the Hub and to no other origin', async () => {
    await rig.download(withToken);
    const sent = (side: string) =>
      rig.hub.log.filter((one) => one.side === side).map((one) => one.headers.authorization);
    expect(sent('hub')).toEqual([`Bearer ${SECRET}`]);
    expect(sent('cdn')).toEqual([undefined]);
  });

  test('stays along on a relative redirect', async () => {
    await rig.client(withToken).readSmall(rig.listing, 'config.json', 1000, recordingTask());
    expect(rig.hub.log.map((one) => one.headers.authorization)).toEqual([
      `Bearer ${SECRET}`,
      `Bearer ${SECRET}`,
    ]);
  });

  test('that is stale does not keep a public repository from being read, and its source is named once', async () => {
    rig.hub.rule({ on: 'hub', fault: refuseToken });
    const task = recordingTask();
    const client = rig.client(withToken);
    const listing = await list(client, task);
    await client.readSmall(listing, 'config.json', 1000, task);
    const notices = task.events.filter(({ type }) => type === 'notice');
    expect(notices).toHaveLength(1);
    expect(JSON.stringify(notices)).toContain('the token from HF_TOKEN');
    expect(rig.hub.log.filter((one) => one.headers.authorization !== undefined)).toHaveLength(1);
  });

  test('appears in no error and no event', async () => {
    rig.hub.rule({ on: 'hub', fault: resetAtOnce });
    const task = recordingTask();
    const error = await failureOf(list(rig.client(withToken), task));
    const shown = [error.message, error.hint, error.stack, JSON.stringify(error), task.events];
    expect(JSON.stringify(shown)).not.toContain(SECRET);
    expect(
      (await import('node:util')).inspect(error, { depth: 20, showHidden: true }),
    ).not.toContain(SECRET);
  });
});

describe('a refusal is named for what it is', () => {
  const gated = answer(403, { 'x-error-code': 'GatedRepo' });
  test.each<[string, Fault, Partial<HubSettings>, string, RegExp, RegExp]>([
    [
      'a repository that needs a login',
      answer(401, { 'x-error-code': 'RepoNotFound' }),
      {},
      'ERR_AUTH',
      /does not exist, is private, or is gated/,
      /HF_TOKEN/,
    ],
    [
      'a repository that is not there for this token either',
      answer(401, { 'x-error-code': 'RepoNotFound' }),
      withToken,
      'ERR_AUTH',
      /neither with the token from HF_TOKEN nor without one/,
      /still valid/,
    ],
    [
      'a gated repository without a token',
      gated,
      {},
      'ERR_AUTH',
      /no token was sent/,
      /licence at http/,
    ],
    ['a gated repository', gated, withToken, 'ERR_AUTH', /is gated and the token/, /fine-grained/],
    [
      'a disabled repository',
      answer(403, { 'x-error-message': 'Access to this resource is disabled.' }),
      {},
      'ERR_HTTP',
      /disabled by the Hub/,
      /choose another model/,
    ],
    [
      'a missing repository',
      answer(404, { 'x-error-code': 'RepoNotFound' }),
      {},
      'ERR_NOT_FOUND',
      /there is no repository flashmoe\/test/,
      /check the name/,
    ],
    ['a proxy that wants a login', answer(407), {}, 'ERR_AUTH', /proxy wants/, /HTTPS_PROXY/],
  ])('%s', async (_what, fault, settings, code, message, hint) => {
    rig.hub.rule({ on: 'hub', fault });
    const error = await failureOf(list(rig.client(settings)));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
    expect(error.hint).toMatch(hint);
  });

  test('a wrong revision', async () => {
    const error = await failureOf(rig.client().list(REPO, 'v9', recordingTask()));
    expect(error).toMatchObject({ code: 'ERR_REVISION' });
    expect(error.message).toContain('has no revision v9');
  });

  test('a file that the listing has but the repository has not', async () => {
    rig.hub.rule({ on: 'hub', fault: answer(404, { 'x-error-code': 'EntryNotFound' }) });
    const error = await failureOf(rig.download());
    expect(error.code).toBe('ERR_NOT_FOUND');
    expect(error.message).toContain(SHARD);
  });

  test('the words of any other refusal are shown with the request id, in printable characters', async () => {
    const headers = { 'x-error-message': 'Not for your country', 'x-request-id': 'Root=1-abc' };
    rig.hub.rule({ on: 'hub', fault: answer(451, headers) });
    const error = await failureOf(list(rig.client()));
    expect(error.code).toBe('ERR_HTTP');
    expect(error.message).toMatch(/answered 451: Not for your country \[request Root=1-abc\]$/);
  });
});

describe('an answer that may be another one later', () => {
  test.each([500, 502, 503, 504, 408])('a burst of %i is outlasted', async (status) => {
    rig.hub.rule({ on: 'hub', times: 3, fault: answer(status) });
    await rig.download();
    expect(await rig.isComplete()).toBe(true);
  });

  test('a listing gives up after its attempts, in a resumable way', async () => {
    rig.hub.rule({ on: 'hub', fault: answer(503) });
    const error = await failureOf(list(rig.client()));
    expect(error).toMatchObject({ code: 'ERR_NETWORK', resumable: true });
    expect(error.message).toContain('the server answered 503');
  });

  const now = 'Fri, 13 Nov 2026 12:00:00 GMT';
  test.each([
    ['RateLimit', { ratelimit: '"api";r=0;t=55' }, 56_000],
    ['Retry-After in seconds', { 'retry-after': '7' }, 7_000],
    [
      'Retry-After as a date',
      { 'retry-after': 'Fri, 13 Nov 2026 12:00:30 GMT', date: now },
      30_000,
    ],
    ['a wait of days, which is cut to hours', { 'retry-after': '999999' }, 6 * 3_600_000],
  ])(
    '429 waits as long as %s says, and an abort ends the wait',
    async (_what, headers, delayMs) => {
      rig.hub.rule({ on: 'hub', fault: answer(429, headers) });
      const abort = new AbortController();
      const task = recordingTask(abort.signal);
      const emit = task.emit.bind(task);
      task.emit = (event) => {
        emit(event);
        abort.abort();
      };
      expect((await failureOf(list(rig.client(), task))).code).toBe('ERR_INTERRUPTED');
      expect(task.events).toMatchObject([{ type: 'retry', attempt: 1, delayMs }]);
    },
  );

  test('429 without a word is met with growing delays', async () => {
    rig.hub.rule({ on: 'hub', times: 4, fault: answer(429) });
    const task = recordingTask();
    const metadataRetry = { attempts: 9, baseMs: 8, capMs: 1_000 };
    await list(rig.client({}, { metadataRetry }), task);
    const delays = task.events.flatMap((event) => (event.type === 'retry' ? [event.delayMs] : []));
    expect(delays).toHaveLength(4);
    delays.forEach((delay, i) => {
      expect(delay).toBeGreaterThanOrEqual(4 * 2 ** i);
      expect(delay).toBeLessThanOrEqual(8 * 2 ** i);
    });
  });

  test('while one request waits, others to the same origin wait with it', async () => {
    rig.hub.rule({ on: 'hub', times: 1, fault: answer(429, { 'retry-after': '1' }) });
    const client = rig.client();
    const first = recordingTask();
    const began = performance.now();
    const waiting = list(client, first);
    while (first.events.length === 0) await new Promise((resolve) => setImmediate(resolve));
    await list(client);
    expect(performance.now() - began).toBeGreaterThanOrEqual(990);
    await waiting;
  });

  test('a hub that is not there is named with what the system says', async () => {
    const gone = await FaultHub.start(rig.repo.folder, REPO);
    await gone.close();
    const error = await failureOf(list(rig.client({ endpoint: gone.endpoint })));
    expect(error).toMatchObject({ code: 'ERR_NETWORK', resumable: true });
    expect(error.message).toContain(`the connection was refused (${gone.endpoint}/api/`);
  });

  test('a login page in place of a listing is refused with that guess', async () => {
    rig.hub.rule({ on: 'hub', fault: loginPage });
    const error = await failureOf(list(rig.client()));
    expect(error.message).toContain('login page');
  });
});

describe('redirects', () => {
  test('a renamed repository is followed', async () => {
    const renamed = `/${REPO}/resolve/${rig.hub.commit}/config.json`;
    rig.hub.rule({ on: 'hub', times: 1, fault: answer(307, { location: `${renamed}?moved=1` }) });
    const bytes = await rig.client().readSmall(rig.listing, 'config.json', 1000, recordingTask());
    expect(bytes.equals(rig.repo.config)).toBe(true);
  });

  test('a circle is refused', async () => {
    rig.hub.rule({
      on: 'hub',
      fault: ({ request, send }) => send({ status: 302, headers: { location: request.path } }),
    });
    const error = await failureOf(rig.download());
    expect(error.code).toBe('ERR_HTTP');
    expect(error.message).toContain('goes in a circle');
  });

  test('a chain without end is refused', async () => {
    rig.hub.rule({
      on: 'hub',
      fault: ({ time, send }) => send({ status: 302, headers: { location: `/x${time}` } }),
    });
    expect((await failureOf(rig.download())).message).toContain('more than the 5th in a row');
    expect(rig.hub.log).toHaveLength(6);
  });

  test('an address that is no web address is refused', async () => {
    rig.hub.rule({ on: 'hub', fault: answer(302, { location: 'file:///etc/passwd' }) });
    expect((await failureOf(rig.download())).code).toBe('ERR_HTTP');
  });
});

describe('offline', () => {
  test('no request leaves the machine', async () => {
    const client = rig.client({ ...testSettings('https://huggingface.co'), offline: true });
    const error = await failureOf(list(client));
    expect(error.code).toBe('ERR_OFFLINE');
    expect(error.hint).toContain('unset HF_HUB_OFFLINE');
  });

  test('a hub on this machine is still reached', async () => {
    expect((await list(rig.client({ offline: true }))).commit).toBe(rig.hub.commit);
  });
});

describe('what is read into memory', () => {
  const read = (start: number, length: number) =>
    rig.client().readRange(rig.listing, SHARD, start, length, recordingTask());

  test('a range is exactly what was asked for', async () => {
    expect((await read(8, 1000)).equals(rig.repo.shard.subarray(8, 1008))).toBe(true);
    expect(await read(0, 0)).toHaveLength(0);
    expect((await read(SIZE - 1, 1)).equals(rig.repo.shard.subarray(SIZE - 1))).toBe(true);
  });

  test('two ranges and a download share one resolve', async () => {
    const client = rig.client();
    const task = recordingTask();
    await client.readRange(rig.listing, SHARD, 0, 8, task);
    await client.readRange(rig.listing, SHARD, 8, 100, task);
    await client.download(rig.listing, SHARD, join(rig.folder, 'x'), task);
    expect(rig.hub.ranges('hub')).toHaveLength(1);
    expect(rig.hub.ranges('cdn')).toHaveLength(3);
  });

  test.each([
    [-1, 4],
    [0, SIZE + 1],
    [SIZE, 1],
    [0.5, 1],
    [0, -1],
  ])(
    'a range from %d of %d bytes that does not lie inside is refused unasked',
    async (start, length) => {
      expect((await failureOf(read(start, length))).code).toBe('ERR_RANGE');
      expect(rig.hub.log).toEqual([]);
    },
  );

  test('where a server ignores ranges the start of the file is read along, which is said once', async () => {
    rig.hub.rule({ on: 'cdn', fault: ignoreRange });
    const task = recordingTask();
    const client = rig.client();
    const { shard } = rig.repo;
    for (const [start, length] of [
      [0, 8],
      [8, 8],
      [70, 1000],
    ] as const) {
      const bytes = await client.readRange(rig.listing, SHARD, start, length, task);
      expect(bytes.equals(shard.subarray(start, start + length))).toBe(true);
    }
    expect(client.ignoresRanges).toBe(true);
    const notices = task.events.filter(({ type }) => type === 'notice');
    expect(notices).toHaveLength(1);
    expect(notices[0]).toMatchObject({
      message: expect.stringContaining(`${SHARD}: the server ignores ranges`) as string,
    });
  });

  test('a range that breaks off or whose address expired is asked for again', async () => {
    rig.hub.rule({ on: 'cdn', times: 1, fault: endAfter(10) });
    rig.hub.rule({ on: 'cdn', times: 1, fault: expired });
    expect((await read(8, 1000)).equals(rig.repo.shard.subarray(8, 1008))).toBe(true);
  });

  test('a small file is verified, fetched once more when it is wrong, and then refused', async () => {
    const small = () => rig.client().readSmall(rig.listing, 'config.json', 1000, recordingTask());
    rig.hub.rule({ on: 'hub', path: /resolve-cache/, times: 1, fault: flipByte(0) });
    expect((await small()).equals(rig.repo.config)).toBe(true);
    rig.hub.rule({ on: 'hub', path: /resolve-cache/, fault: flipByte(0) });
    expect((await failureOf(small())).code).toBe('ERR_HASH');
  });

  test('a file larger than its limit is not fetched', async () => {
    const error = await failureOf(
      rig.client().readSmall(rig.listing, 'config.json', 10, recordingTask()),
    );
    expect(error.code).toBe('ERR_REMOTE_CONTENT');
    expect(rig.hub.log).toEqual([]);
  });
});

describe('a listing', () => {
  const change = (edit: (entries: Record<string, unknown>[]) => void) =>
    rig.hub.rule({
      on: 'hub',
      path: /\/tree\//,
      fault: rewriteJson((value) => {
        const entries = value as Record<string, unknown>[];
        edit(entries);
        return entries;
      }),
    });

  test.each([
    ['a climbing path', '../evil.json'],
    ['a climb further down', 'a/../../evil.json'],
    ['an absolute path', '/etc/passwd'],
    ['a backslash', 'a\\..\\b'],
    ['a NUL', 'config.json\0.txt'],
    ['an escaped climb', '%2e%2e/evil'],
    ['an escaped slash', 'a%2Fb'],
    ['a newline', 'a\nb'],
    ['a dot', 'a/./b'],
    ['a doubled slash', 'a//b'],
    ['nothing', ''],
    ['a drive letter', 'C:evil'],
  ])('with %s as a name of a file leaves that file out', async (_what, path) => {
    change((entries) => entries.push({ type: 'file', path, size: 1, oid: '1'.repeat(40) }));
    const { files } = await list(rig.client());
    expect(files.map((file) => file.path)).toEqual(['config.json', SHARD]);
  });

  test('with names that are one file on a Mac has them all, as none of them need be fetched', async () => {
    const twins = ['Config.json', 'cafe\u0301.json', 'caf\u00e9.json'];
    change((entries) => {
      for (const path of twins) {
        entries.push({ type: 'file', path, size: 1, oid: '1'.repeat(40) });
      }
    });
    const { files } = await list(rig.client());
    expect(files.map((file) => file.path)).toEqual(['config.json', SHARD, ...twins]);
  });

  test.each<[string, (entry: Record<string, unknown>) => void]>([
    ['no size', (entry) => delete entry.size],
    ['a negative size', (entry) => (entry.size = -1)],
    ['no hash at all', (entry) => delete entry.oid],
    ['two sizes', (entry) => (entry.lfs = { oid: '2'.repeat(64), size: 5, pointerSize: 1 })],
    [
      'a hash of another kind',
      (entry) => (entry.lfs = { oid: 'x', size: entry.size, pointerSize: 1 }),
    ],
  ])('with %s in an entry is refused', async (_what, edit) => {
    change((entries) => entries.forEach(edit));
    expect((await failureOf(list(rig.client()))).code).toBe('ERR_REMOTE_CONTENT');
  });

  test('with the same entry twice holds it once, and is refused when the two differ', async () => {
    change((entries) => entries.push({ ...entries[0] }));
    const { files } = await list(rig.client());
    expect(files.map(({ path }) => path)).toEqual(['config.json', SHARD]);
    rig.hub.reset();
    change((entries) => entries.push({ ...entries[0], size: 9 }));
    expect((await failureOf(list(rig.client()))).message).toContain('listed twice');
  });

  test('with relative links to its next page is complete', async () => {
    const cut: Fault = (exchange) => {
      const entries = JSON.parse(exchange.body.toString()) as unknown[];
      const second = exchange.request.query.includes('page=2');
      const body = Buffer.from(JSON.stringify(second ? entries.slice(1) : entries.slice(0, 1)));
      const headers = { ...exchange.headers, 'content-length': body.length };
      exchange.send({
        body,
        headers: second ? headers : { ...headers, link: '<?page=2&recursive=true>; rel="next"' },
      });
    };
    rig.hub.rule({ on: 'hub', path: /\/tree\//, fault: cut });
    expect((await list(rig.client())).files).toHaveLength(2);
  });

  test('that goes on at another host, as behind a mirror, is asked of this one and the token stays here', async () => {
    const link = `<${rig.hub.cdn}/api/models/${REPO}/tree/x?cursor=2>; rel="next"`;
    rig.hub.rule({ on: 'hub', path: /\/tree\//, times: 1, fault: withHeaders({ link }) });
    await list(rig.client(withToken)).catch(() => undefined);
    const asked = rig.hub.log.filter(({ path }) => path.includes('/tree/x'));
    expect(asked.map(({ side }) => side)).toEqual(['hub']);
    expect(rig.hub.ranges('cdn')).toEqual([]);
  });

  test('that goes on with something else than the listing is refused', async () => {
    const link = `<${rig.hub.cdn}/api/whoami-v2>; rel="next"`;
    rig.hub.rule({ on: 'hub', path: /\/tree\//, fault: withHeaders({ link }) });
    expect((await failureOf(list(rig.client(withToken)))).message).toContain('no listing of it');
  });

  test('with pages without end is refused', async () => {
    rig.hub.rule({
      on: 'hub',
      path: /\/tree\//,
      fault: (exchange) => {
        const link = `<${rig.hub.endpoint}${exchange.request.path}?recursive=true&page=${exchange.time}>; rel="next"`;
        return withHeaders({ link })(exchange);
      },
    });
    expect((await failureOf(list(rig.client()))).message).toContain('more than 50 pages');
  });

  test('is of the commit that a revision stood for, and keeps to it when the branch moves', async () => {
    const listing = await list(rig.client());
    rig.hub.rule({ on: 'hub', path: /revision/, fault: answer(500) });
    const again = await rig.client().listAt(REPO, 'main', listing.commit, recordingTask());
    expect(again).toEqual(listing);
    expect(rig.hub.log.every(({ path }) => !/main/.test(path) || /revision/.test(path))).toBe(true);
  });

  test.each(['', 'name', 'a/b/c', '../x', 'a/..', 'a b/c', 'org/na--me', 'org/name.git'])(
    'is not asked for by the id %j',
    async (repo) => {
      const error = await failureOf(rig.client().list(repo, 'main', recordingTask()));
      expect(error.code).toBe('ERR_USAGE');
      expect(rig.hub.log).toEqual([]);
    },
  );

  test.each(['', '../x', 'a..b', '/x', 'x/', 'a b', 'x?y'])(
    'is not asked for at the revision %j',
    async (revision) => {
      const error = await failureOf(rig.client().list(REPO, revision, recordingTask()));
      expect(error.code).toBe('ERR_USAGE');
    },
  );
});
