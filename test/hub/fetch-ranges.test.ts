import { describe, expect, test } from 'vitest';
import type { HubClientOptions } from '../../src/hub/client.js';
import type { RangeSink } from '../../src/hub/fetch-ranges.js';
import { SharedPace } from '../../src/hub/pace.js';
import type { HubEvent, HubSettings } from '../../src/hub/types.js';
import type { Rule } from '../helpers/hub/fault-hub.js';
import {
  answer,
  drip,
  endAfter,
  expired,
  gzipped,
  ignoreRange,
  lfsPointer,
  loginPage,
  resetAfter,
  resetAtOnce,
  silent,
  stallAfter,
  withHeaders,
} from '../helpers/hub/faults.js';
import { SHARD } from '../helpers/hub/repo-folder.js';
import { failureOf, useRig } from '../helpers/hub/rig.js';
import { recordingTask, testSettings } from '../helpers/hub/settings.js';

const SIZE = 1_200_000;
const PART = 100_000;
const rig = useRig(SIZE);

/** What ranges were put into: bytes in their places, and how often each arrived. */
class Memory implements RangeSink {
  readonly bytes = Buffer.alloc(SIZE);
  readonly times = new Uint8Array(SIZE);
  received = 0;
  put(at: number, chunks: Uint8Array[]): Promise<void> {
    for (const chunk of chunks) {
      this.bytes.set(chunk, at);
      for (let i = at; i < at + chunk.length; i += 1) this.times[i] = (this.times[i] ?? 0) + 1;
      at += chunk.length;
    }
    return Promise.resolve();
  }
  arrived(bytes: number): void {
    this.received += bytes;
  }
}

interface Fetched {
  memory: Memory;
  events: HubEvent[];
}

/** The whole shard in ranges of `part` bytes; fails as `client.fetch` does. */
async function fetchAll(
  settings: Partial<HubSettings> = {},
  options: HubClientOptions = {},
  part = PART,
): Promise<Fetched> {
  const [memory, task] = [new Memory(), recordingTask()];
  const ranges = Array.from({ length: Math.ceil(SIZE / part) }, (_, i) => ({
    ...{ file: SHARD, start: i * part, at: i * part, end: Math.min(SIZE, (i + 1) * part) },
  }));
  await rig.client(settings, options).fetch(rig.listing, ranges, memory, task);
  return { memory, events: task.events };
}

/** Every byte is right, and none was put into place twice. */
function expectWhole({ memory }: Fetched): void {
  expect(memory.bytes.equals(rig.repo.shard)).toBe(true);
  expect(memory.times.every((count) => count === 1)).toBe(true);
}

const retries = (events: HubEvent[]): string[] =>
  events.flatMap((event) => (event.type === 'retry' ? [event.reason] : []));

const quick = {
  timeouts: { ...testSettings('').timeouts, idleMs: 800, responseMs: 800 },
};

describe('ranges are whole and each byte is kept once, though', () => {
  test.each([
    ['connections are cut', { on: 'cdn', times: 5, fault: resetAfter(40_000) }, 'connection'],
    ['a connection is refused before any header', { on: 'cdn', times: 1, fault: resetAtOnce }, ''],
    ['bodies end early', { on: 'cdn', times: 3, fault: endAfter(7_000) }, 'bytes early'],
    ['a line falls silent', { on: 'cdn', times: 2, fault: stallAfter(9_000) }, 'stalled: no bytes'],
    ['an answer never comes', { on: 'cdn', times: 1, fault: silent }, 'no answer'],
    ['an address has expired', { on: 'cdn', after: 3, times: 2, fault: expired }, 'expired'],
    ['a login page comes', { on: 'cdn', after: 1, times: 2, fault: loginPage }, 'login page'],
    [
      'a network redirects to its login',
      { on: 'cdn', after: 1, times: 2, fault: answer(302, { location: 'http://login.invalid/' }) },
      'redirects elsewhere',
    ],
    ['a network wants a login by status', { on: 'cdn', times: 1, fault: answer(511) }, '511'],
    ['a server has trouble', { on: 'cdn', times: 3, fault: answer(502) }, '502'],
    [
      'it is told to wait by RateLimit',
      { on: 'cdn', times: 1, fault: answer(429, { ratelimit: '"cdn";r=0;t=0' }) },
      '429',
    ],
    [
      'it is told to wait by Retry-After',
      { on: 'cdn', times: 1, fault: answer(429, { 'retry-after': '1' }) },
      '429',
    ],
    ['it is told to wait, and not how long', { on: 'cdn', times: 2, fault: answer(429) }, '429'],
    [
      'another Content-Range comes',
      { on: 'cdn', times: 1, fault: withHeaders({ 'content-range': 'bytes 5-9/10' }) },
      'asked for bytes',
    ],
    [
      'the etag changes',
      { on: 'cdn', after: 3, times: 1, fault: withHeaders({ etag: '"other"' }) },
      'it changed at',
    ],
    ['a 416 comes', { on: 'cdn', after: 2, times: 1, fault: answer(416) }, 'got 416'],
    ['a range is ignored once', { on: 'cdn', after: 2, times: 1, fault: ignoreRange }, 'ignored'],
    ['a body comes compressed', { on: 'cdn', after: 2, times: 1, fault: gzipped }, 'ignored'],
    [
      'the name of the CDN is gone for a while',
      {
        on: 'hub',
        path: /resolve/,
        times: 2,
        fault: ({ headers, send }) =>
          send({ headers: { ...headers, location: 'http://cdn.invalid/shard' } }),
      },
      'name',
    ],
  ] as [string, Rule, string][])('%s', async (_, rule, reason) => {
    rig.hub.rule(rule);
    const fetched = await fetchAll(quick);
    expectWhole(fetched);
    expect(retries(fetched.events)).toContainEqual(expect.stringContaining(reason));
  });

  test('a line only drips', async () => {
    const timeouts = {
      ...testSettings('').timeouts,
      floorBytesPerSecond: 1_000,
      floorWindowMs: 300,
    };
    rig.hub.rule({ on: 'cdn', times: 1, fault: drip(1, 10) });
    const fetched = await fetchAll({ timeouts });
    expectWhole(fetched);
    expect(retries(fetched.events)).toEqual([expect.stringContaining('too slow to go on with')]);
  });

  // At a good rate a range takes less than the time after which a connection is judged.
  test('one connection is far slower than all that came before, which is noticed and replaced', async () => {
    rig.hub.rule({ on: 'cdn', after: 4, times: 1, fault: drip(100, 100) });
    const fetched = await fetchAll();
    expectWhole(fetched);
    expect(retries(fetched.events)).toEqual([
      expect.stringContaining('far slower than the others'),
    ]);
    // It went on from what the slow one had brought.
    const replaced = rig.hub.ranges('cdn').filter((range) => (range?.start ?? 0) % PART !== 0);
    expect(replaced).toHaveLength(1);
  });
});

describe('ranges are given up with a clear error, and nothing that is wrong is kept, when', () => {
  test.each([
    ['a 416 stays', { on: 'cdn', fault: answer(416) }, 'ERR_RANGE', /bytes=\d+-\d+, got 416/],
    [
      'the Content-Range stays another',
      { on: 'cdn', fault: withHeaders({ 'content-range': 'bytes 5-9/10' }) },
      'ERR_RANGE',
      /asked for bytes .* got bytes 5-9\/10$/,
    ],
    [
      'addresses are always expired',
      { on: 'cdn', fault: expired },
      'ERR_NETWORK',
      /127\.0\.0\.1:\d+ refuses the address that the hub gives for it, as one that expired: 403/,
    ],
    ['the CDN has the file no more', { on: 'cdn', fault: answer(404) }, 'ERR_NOT_FOUND', /404/],
    [
      'a pointer comes in place of weights',
      { on: 'cdn', fault: lfsPointer },
      'ERR_REMOTE_CONTENT',
      /Git LFS pointer/,
    ],
    [
      'the listing has another length than the Hub',
      { on: 'hub', path: /resolve/, fault: withHeaders({ 'x-linked-size': '1199999' }) },
      'ERR_REMOTE_CHANGED',
      /size is 1199999, where the listing .* says 1200000/,
    ],
    [
      'the Hub answers from another commit',
      { on: 'hub', path: /resolve/, fault: withHeaders({ 'x-repo-commit': 'f'.repeat(40) }) },
      'ERR_REMOTE_CHANGED',
      /commit is f{40}/,
    ],
    [
      'the Hub has another hash for the file',
      {
        on: 'hub',
        path: /resolve/,
        fault: withHeaders({ 'x-linked-etag': `"${'e'.repeat(64)}"` }),
      },
      'ERR_REMOTE_CHANGED',
      /hash is e{64}/,
    ],
    [
      'access was withdrawn',
      { on: 'hub', path: /resolve/, fault: answer(403, { 'x-error-code': 'GatedRepo' }) },
      'ERR_AUTH',
      /gated/,
    ],
    [
      'the repository was deleted',
      { on: 'hub', path: /resolve/, fault: answer(404, { 'x-error-code': 'RepoNotFound' }) },
      'ERR_NOT_FOUND',
      /no repository/,
    ],
    ['ranges are always ignored', { on: 'cdn', fault: ignoreRange }, 'ERR_RANGE', /was ignored$/],
  ] as [string, Rule, string, RegExp][])('%s', async (_, rule, code, message) => {
    rig.hub.rule(rule);
    const error = await failureOf(fetchAll());
    expect(error).toMatchObject({ code, message: expect.stringMatching(message) as string });
  });
});

test('the token goes to the Hub and to no other host that ranges come from', async () => {
  rig.hub.rule({ on: 'cdn', after: 3, times: 2, fault: expired });
  expectWhole(await fetchAll({ token: { value: 'hf_secret', source: 'HF_TOKEN' } }));
  for (const { side, headers } of rig.hub.log) {
    expect(headers.authorization).toBe(side === 'hub' ? 'Bearer hf_secret' : undefined);
  }
});

test('a limit holds for all connections together, also one that is set in the middle', async () => {
  const pace = new SharedPace(800_000);
  const began = performance.now();
  const change = setTimeout(() => pace.setRate(400_000), 500);
  expectWhole(await fetchAll({}, { pace }));
  clearTimeout(change);
  const seconds = (performance.now() - began) / 1000;
  // 800 kB at most in the first half second with what an idle line may save up; a second for the rest, less the
  // chunk of each connection that is paid for by nobody.
  expect(seconds).toBeGreaterThan(0.9);
  expect(pace.received).toBe(SIZE);
});
