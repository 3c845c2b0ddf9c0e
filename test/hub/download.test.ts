import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  answer,
  chunked,
  drip,
  endAfter,
  expired,
  flipByte,
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
import type { HubTimeouts } from '../../src/hub/types.js';

const SIZE = 600_000;
const rig = useRig(SIZE);

const partial = () => `${rig.destination}.partial`;
const sidecar = () => `${rig.destination}.partial.json`;
const timeouts = (changes: Partial<HubTimeouts>) => ({
  timeouts: { ...testSettings('').timeouts, ...changes },
});

// Typed where vitest's matchers are `any`.
const has = (value: object): unknown => expect.objectContaining(value);
const text = (part: string): unknown => expect.stringContaining(part);

/** Leaves a partial of `bytes`, as an earlier run that was cut off did. */
async function leavePartial(bytes: number): Promise<void> {
  rig.hub.rule({ on: 'cdn', times: 1, fault: endAfter(bytes) });
  rig.hub.rule({ on: 'cdn', fault: resetAtOnce });
  const error = await failureOf(rig.download());
  expect(error.code).toBe('ERR_NETWORK');
  expect((await stat(partial())).size).toBe(bytes);
  rig.hub.reset();
}

describe('a line that breaks', () => {
  test('a download that is reset goes on at the byte it had reached', async () => {
    rig.hub.rule({ on: 'cdn', times: 1, fault: resetAfter(250_000) });
    const { task, fetchedBytes } = await rig.download();
    expect(await rig.isComplete()).toBe(true);
    expect(fetchedBytes).toBe(SIZE);
    // What was still in buffers when the line broke may be asked for again, and no more than that.
    const again = rig.hub.ranges('cdn')[1]?.start ?? 0;
    expect(again).toBeLessThanOrEqual(250_000);
    expect(again).toBeGreaterThan(250_000 - 4 * 65_536);
    expect(task.events.filter(({ type }) => type === 'retry')).toMatchObject([{ attempt: 1 }]);
  });

  test('resets without end do not end a download that makes progress', async () => {
    rig.hub.rule({ on: 'cdn', times: 20, fault: resetAfter(25_000) });
    await rig.download();
    expect(await rig.isComplete()).toBe(true);
  });

  test('silence in the middle of a body is noticed and the rest is fetched anew', async () => {
    rig.hub.rule({ on: 'cdn', times: 1, fault: stallAfter(100_000) });
    const { task } = await rig.download(timeouts({ idleMs: 60 }));
    expect(await rig.isComplete()).toBe(true);
    expect(task.events).toContainEqual(has({ type: 'retry', reason: text('no bytes for') }));
  });

  test('silence before the headers is noticed', async () => {
    rig.hub.rule({ on: 'cdn', times: 1, fault: silent });
    rig.hub.rule({ on: 'hub', times: 1, fault: silent });
    const { task } = await rig.download(timeouts({ responseMs: 200 }));
    expect(await rig.isComplete()).toBe(true);
    const silences = task.events.filter((one) =>
      JSON.stringify(one).includes('no answer in 0.2 s'),
    );
    expect(silences.length).toBeGreaterThanOrEqual(2);
  });

  test('a trickle counts as a stall', async () => {
    rig.hub.rule({ on: 'cdn', times: 1, fault: drip(1, 5) });
    const { task } = await rig.download(
      timeouts({ floorBytesPerSecond: 50_000, floorWindowMs: 80 }),
    );
    expect(await rig.isComplete()).toBe(true);
    expect(task.events).toContainEqual(has({ type: 'retry', reason: text('too slow') }));
  });

  test('a body that ends early is completed', async () => {
    rig.hub.rule({ on: 'cdn', times: 1, fault: endAfter(123_456) });
    await rig.download();
    expect(rig.hub.ranges('cdn')[1]).toEqual({ start: 123_456, end: SIZE });
    expect(await rig.isComplete()).toBe(true);
  });

  test('a body that goes on too long is cut and reported', async () => {
    const more = Buffer.alloc(70_000, 7);
    rig.hub.rule({ on: 'cdn', fault: chunked((body) => Buffer.concat([body, more])) });
    const { task } = await rig.download();
    expect(await rig.isComplete()).toBe(true);
    expect(task.events).toContainEqual(has({ type: 'notice', message: text('cut off') }));
  });

  test('when patience ends the partial is kept and the error says how much', async () => {
    await leavePartial(300_000);
    rig.hub.rule({ on: 'cdn', fault: resetAtOnce });
    const error = await failureOf(rig.download());
    expect(error).toMatchObject({ code: 'ERR_NETWORK', resumable: true });
    expect(error.message).toContain('300 kB of 600 kB were kept in the partial file');
  });

  test('an abort in the middle of a wait ends at once and keeps what is there', async () => {
    rig.hub.rule({ on: 'cdn', times: 1, fault: endAfter(200_000) });
    const abort = new AbortController();
    const task = recordingTask(abort.signal);
    const slow = { downloadRetry: { attempts: 9, baseMs: 60_000, capMs: 60_000 } };
    task.emit = (event) => {
      if (event.type === 'retry') abort.abort();
    };
    const began = performance.now();
    const error = await failureOf(
      rig.client({}, slow).download(rig.listing, SHARD, rig.destination, task),
    );
    expect(error).toMatchObject({ code: 'ERR_INTERRUPTED', resumable: true });
    expect(performance.now() - began).toBeLessThan(5_000);
    expect((await stat(partial())).size).toBe(200_000);
  });

  test('an abort in the middle of a body ends at once', async () => {
    rig.hub.rule({ on: 'cdn', fault: stallAfter(100_000) });
    const abort = new AbortController();
    const task = recordingTask(abort.signal);
    task.emit = (event) => {
      if (event.type === 'progress') abort.abort();
    };
    const error = await failureOf(rig.client().download(rig.listing, SHARD, rig.destination, task));
    expect(error.code).toBe('ERR_INTERRUPTED');
  });
});

describe('what an earlier run left', () => {
  test('a partial is hashed again and only the rest is asked for', async () => {
    await leavePartial(400_000);
    const { task, fetchedBytes, resumedBytes } = await rig.download();
    expect(await rig.isComplete()).toBe(true);
    expect({ fetchedBytes, resumedBytes }).toEqual({
      fetchedBytes: 200_000,
      resumedBytes: 400_000,
    });
    expect(rig.hub.ranges('cdn')).toEqual([{ start: 400_000, end: SIZE }]);
    expect(task.events).toContainEqual({
      type: 'resumed',
      file: SHARD,
      from: 400_000,
      total: SIZE,
    });
  });

  test('a complete partial is verified without a request', async () => {
    await leavePartial(1_000);
    await writeFile(partial(), rig.repo.shard);
    await rig.download();
    expect(rig.hub.log).toEqual([]);
    expect(await rig.isComplete()).toBe(true);
  });

  test('a finished file is verified and left alone', async () => {
    await writeFile(rig.destination, rig.repo.shard);
    const { fetchedBytes } = await rig.download();
    expect(fetchedBytes).toBe(0);
    expect(rig.hub.log).toEqual([]);
  });

  test('a finished file with other bytes stays until its successor is verified', async () => {
    const other = Buffer.alloc(SIZE, 1);
    await writeFile(rig.destination, other);
    rig.hub.rule({ on: 'cdn', fault: answer(451) });
    expect((await failureOf(rig.download())).code).toBe('ERR_HTTP');
    expect((await readFile(rig.destination)).equals(other)).toBe(true);
    rig.hub.reset();
    await rig.download();
    expect(await rig.isComplete()).toBe(true);
  });

  test('a partial of another commit is never continued', async () => {
    await leavePartial(400_000);
    const bound = JSON.parse(await readFile(sidecar(), 'utf8')) as Record<string, unknown>;
    await writeFile(sidecar(), `${JSON.stringify({ ...bound, commit: '0'.repeat(40) })}\n`);
    await rig.download();
    expect(rig.hub.ranges('cdn')).toEqual([{ start: 0, end: SIZE }]);
    expect(await rig.isComplete()).toBe(true);
  });

  test.each([
    ['no sidecar', undefined],
    ['a torn sidecar', '{"schema":1,"repo":"fla'],
  ])('a partial with %s is never continued', async (_what, text) => {
    await writeFile(partial(), Buffer.alloc(400_000));
    if (text !== undefined) await writeFile(sidecar(), text);
    await rig.download();
    expect(rig.hub.ranges('cdn')).toEqual([{ start: 0, end: SIZE }]);
  });

  test('a partial longer than the file starts over', async () => {
    await leavePartial(1_000);
    await writeFile(partial(), Buffer.concat([rig.repo.shard, Buffer.alloc(1)]));
    await rig.download();
    expect(rig.hub.ranges('cdn')).toEqual([{ start: 0, end: SIZE }]);
    expect(await rig.isComplete()).toBe(true);
  });

  test('a partial with a damaged byte is found out by the hash and fetched again', async () => {
    await leavePartial(400_000);
    const bytes = await readFile(partial());
    bytes.writeUInt8(bytes.readUInt8(7) ^ 1, 7);
    await writeFile(partial(), bytes);
    await rig.download();
    expect(rig.hub.ranges('cdn')).toEqual([
      { start: 400_000, end: SIZE },
      { start: 0, end: SIZE },
    ]);
    expect(await rig.isComplete()).toBe(true);
  });

  test('a link in place of the partial or the file is refused and not written through', async () => {
    const victim = join(rig.folder, 'victim');
    await writeFile(victim, 'mine');
    await leavePartial(1_000);
    await rm(partial());
    await symlink(victim, partial());
    expect((await failureOf(rig.download())).code).toBe('ERR_IO');
    await rm(partial());
    await symlink(victim, rig.destination);
    expect((await failureOf(rig.download())).code).toBe('ERR_IO');
    expect(await readFile(victim, 'utf8')).toBe('mine');
  });

  test('a folder in place of the file is refused', async () => {
    await mkdir(rig.destination);
    expect((await failureOf(rig.download())).message).toContain('was left alone');
  });
});

describe('answers that are not what was asked for', () => {
  test('a 200 in the middle of a file writes nothing and a fresh resolve is tried', async () => {
    await leavePartial(400_000);
    rig.hub.rule({ on: 'cdn', times: 1, fault: ignoreRange });
    const { fetchedBytes } = await rig.download();
    expect(fetchedBytes).toBe(200_000);
    expect(await rig.isComplete()).toBe(true);
    expect(rig.hub.ranges('hub')).toHaveLength(2);
  });

  test('a server that ignores ranges for good makes it start over, with a word about it', async () => {
    await leavePartial(400_000);
    rig.hub.rule({ on: 'cdn', fault: ignoreRange });
    const { task, fetchedBytes } = await rig.download();
    expect(fetchedBytes).toBe(SIZE);
    expect(await rig.isComplete()).toBe(true);
    expect(task.events).toContainEqual(
      has({
        type: 'notice',
        message: text('ignores ranges'),
      }),
    );
  });

  test.each([
    ['another start', `bytes 0-${SIZE - 1}/${SIZE}`],
    ['another end', `bytes 400000-${SIZE - 2}/${SIZE}`],
    ['another total', `bytes 400000-${SIZE - 1}/${SIZE + 1}`],
    ['no Content-Range', undefined],
  ])('a 206 with %s is tried once more and then ends with both', async (_what, value) => {
    await leavePartial(400_000);
    rig.hub.rule({ on: 'cdn', fault: withHeaders({ 'content-range': value }) });
    const error = await failureOf(rig.download());
    expect(error).toMatchObject({ code: 'ERR_RANGE', resumable: true });
    expect(error.message).toContain(`asked for bytes 400000-${SIZE - 1}/${SIZE}, got `);
    expect((await stat(partial())).size).toBe(400_000);
    expect(rig.hub.ranges('cdn')).toHaveLength(2);
  });

  test('a 416 is answered by a fresh resolve, then is final and keeps the partial', async () => {
    await leavePartial(400_000);
    rig.hub.rule({ on: 'cdn', times: 1, fault: answer(416, { 'content-range': 'bytes */9' }) });
    await rig.download();
    expect(await rig.isComplete()).toBe(true);
  });

  test('a 416 that stays is final, names the range and keeps the partial', async () => {
    await leavePartial(400_000);
    rig.hub.rule({ on: 'cdn', fault: answer(416, { 'content-range': 'bytes */9' }) });
    const error = await failureOf(rig.download());
    expect(error.message).toMatch(/bytes=400000-599999, got 416 bytes \*\/9; 400 kB/);
  });

  test('an address that expires in mid-file is resolved anew each time', async () => {
    rig.hub.rule({ on: 'cdn', times: 1, fault: endAfter(200_000) });
    rig.hub.rule({ on: 'cdn', times: 1, fault: expired });
    rig.hub.rule({ on: 'cdn', times: 1, fault: endAfter(200_000) });
    rig.hub.rule({ on: 'cdn', times: 1, fault: expired });
    await rig.download();
    expect(await rig.isComplete()).toBe(true);
    const resolves = rig.hub.ranges('hub', /resolve/);
    expect(resolves.map((range) => range?.start)).toEqual([0, 200_000, 400_000]);
  });

  test('an address that is always expired ends the download without blaming a token', async () => {
    rig.hub.rule({ on: 'cdn', fault: expired });
    const error = await failureOf(rig.download());
    expect(error).toMatchObject({ code: 'ERR_NETWORK', resumable: true });
    expect(rig.hub.ranges('cdn')).toHaveLength(4);
  });

  test('a storage that refuses for good ends it after a few tries, with its own words', async () => {
    const body = Buffer.from(
      '<Error><Code>InvalidRequest</Code><Message>No such key pair</Message></Error>',
    );
    rig.hub.rule({
      on: 'cdn',
      fault: (exchange) =>
        exchange.send({ status: 400, headers: { 'content-type': 'application/xml' }, body }),
    });
    const error = await failureOf(rig.download());
    expect(error.message).toContain('400 (it says "InvalidRequest: No such key pair")');
    expect(rig.hub.ranges('cdn')).toHaveLength(4);
  });

  test('several validators for one address end the trust in them, and the sha256 decides', async () => {
    rig.hub.rule({ on: 'cdn', times: 3, fault: resetAfter(100_000) });
    let n = 0;
    rig.hub.rule({
      on: 'cdn',
      fault: (exchange) => withHeaders({ etag: `"edge${n++}"` })(exchange),
    });
    const { task } = await rig.download();
    expect(await rig.isComplete()).toBe(true);
    expect(task.events).toContainEqual(has({ type: 'notice', message: text('several ETags') }));
  });

  test.each([
    ['an ETag that is nobody’s hash', { etag: `"${'e'.repeat(64)}"`, 'x-linked-etag': undefined }],
    ['a size of 0', { 'x-linked-size': '0' }],
  ])('%s from a proxy is no word about the content', async (_, headers) => {
    rig.hub.rule({
      on: 'hub',
      path: /resolve/,
      fault: withHeaders(headers),
    });
    await rig.download();
    expect(await rig.isComplete()).toBe(true);
  });

  test('a server that does not tell the length of the whole is believed', async () => {
    rig.hub.rule({ on: 'cdn', times: 1, fault: resetAfter(100_000) });
    rig.hub.rule({
      on: 'cdn',
      fault: (exchange) => {
        const range = String(exchange.headers['content-range'] ?? '').replace(/\/\d+$/, '/*');
        return withHeaders({ 'content-range': range })(exchange);
      },
    });
    await rig.download();
    expect(await rig.isComplete()).toBe(true);
  });

  test('a file that is gone from the CDN is resolved once more and then not found', async () => {
    rig.hub.rule({ on: 'cdn', fault: answer(404) });
    expect((await failureOf(rig.download())).code).toBe('ERR_NOT_FOUND');
    expect(rig.hub.ranges('hub', /resolve/)).toHaveLength(2);
  });

  test('a signed address is resolved once and used again, with the validator it gave', async () => {
    rig.hub.rule({ on: 'cdn', times: 3, fault: resetAfter(100_000) });
    await rig.download();
    expect(rig.hub.ranges('hub', /resolve/)).toHaveLength(1);
    const validators = rig.hub.log.filter(({ side }) => side === 'cdn').map((one) => one.headers);
    expect(validators[0]?.['if-range']).toBeUndefined();
    expect(validators[1]?.['if-range']).toMatch(/^"[0-9a-f]{32}"$/);
  });

  test('a weak validator is not used for If-Range', async () => {
    const weak = { etag: 'W/"abc"' };
    rig.hub.rule({
      on: 'cdn',
      times: 1,
      fault: async (exchange) => {
        exchange.headers = { ...exchange.headers, ...weak };
        await resetAfter(100_000)(exchange);
      },
    });
    await rig.download();
    expect(
      rig.hub.log.filter(({ side }) => side === 'cdn')[1]?.headers['if-range'],
    ).toBeUndefined();
    expect(await rig.isComplete()).toBe(true);
  });

  test('a validator that changes in mid-file makes the Hub be asked again before a byte is taken', async () => {
    rig.hub.rule({ on: 'cdn', times: 1, fault: resetAfter(100_000) });
    rig.hub.rule({ on: 'cdn', times: 1, fault: withHeaders({ etag: '"another"' }) });
    const { task } = await rig.download();
    expect(await rig.isComplete()).toBe(true);
    expect(rig.hub.ranges('hub', /resolve/)).toHaveLength(2);
    expect(task.events).toContainEqual(has({ type: 'retry', reason: text('it changed at') }));
  });

  test.each([
    ['X-Repo-Commit', { 'x-repo-commit': 'f'.repeat(40) }],
    ['X-Linked-Size', { 'x-linked-size': '599999' }],
    ['X-Linked-Etag', { 'x-linked-etag': `"${'e'.repeat(64)}"` }],
  ])('another %s than listed is a hard stop before the first byte', async (_name, headers) => {
    rig.hub.rule({ on: 'hub', path: /resolve/, fault: withHeaders(headers) });
    const error = await failureOf(rig.download());
    expect(error.code).toBe('ERR_REMOTE_CHANGED');
    expect(error.message).toContain('nothing was written');
    expect(rig.hub.log.map(({ side }) => side)).toEqual(['hub']);
  });

  test('an LFS pointer in place of weights is refused by its content', async () => {
    rig.hub.rule({
      on: 'cdn',
      fault: async (exchange) => {
        await lfsPointer({
          ...exchange,
          send: (pointer) => padded(exchange.send, pointer?.body),
        });
      },
    });
    const error = await failureOf(rig.download());
    expect(error).toMatchObject({ code: 'ERR_REMOTE_CONTENT' });
    expect(error.message).toContain('LFS pointer');
    expect((await stat(partial())).size).toBe(0);
  });

  test('a login page with status 200 is waited for and never written', async () => {
    rig.hub.rule({ on: 'cdn', times: 2, fault: loginPage });
    const { task } = await rig.download();
    expect(await rig.isComplete()).toBe(true);
    expect(task.events.filter(({ type }) => type === 'retry')).toMatchObject([
      { reason: text('login page') },
      { reason: text('login page') },
    ]);
  });

  test('a page that hides behind a binary type is told by its first bytes', async () => {
    const page = Buffer.alloc(SIZE, ' ');
    page.write('\n<!DOCTYPE html><html>');
    rig.hub.rule({ on: 'cdn', times: 1, fault: ({ send }) => send({ body: page }) });
    const { fetchedBytes } = await rig.download();
    expect(fetchedBytes).toBe(SIZE);
    expect(await rig.isComplete()).toBe(true);
  });

  test('a small file that comes compressed all the same is stored as it is', async () => {
    rig.hub.rule({ on: 'hub', path: /resolve-cache/, fault: gzipped });
    const destination = join(rig.folder, 'config.json');
    await rig.client().download(rig.listing, 'config.json', destination, recordingTask());
    expect((await readFile(destination)).equals(rig.repo.config)).toBe(true);
  });
});

describe('bytes that are wrong', () => {
  test('one flipped bit is found, and the file fetched once more', async () => {
    rig.hub.rule({ on: 'cdn', times: 1, fault: flipByte(300_000) });
    const { task, fetchedBytes } = await rig.download();
    expect(await rig.isComplete()).toBe(true);
    expect(fetchedBytes).toBe(2 * SIZE);
    expect(task.events).toContainEqual(
      has({
        type: 'notice',
        message: text('fetched again'),
      }),
    );
    // The second fetch is over a fresh address.
    expect(rig.hub.ranges('hub', /resolve/)).toHaveLength(2);
  });

  test('wrong twice stops, shows both hashes and says what became of the bytes', async () => {
    rig.hub.rule({ on: 'cdn', fault: flipByte(300_000) });
    const error = await failureOf(rig.download());
    const wrong = Buffer.from(rig.repo.shard);
    wrong.writeUInt8(wrong.readUInt8(300_000) ^ 1, 300_000);
    expect(error.code).toBe('ERR_HASH');
    expect(error.message).toContain(createHash('sha256').update(wrong).digest('hex'));
    expect(error.message).toContain(createHash('sha256').update(rig.repo.shard).digest('hex'));
    expect(error.message).toContain('the damaged copy was deleted');
    expect(await readdir(rig.folder)).toEqual([]);
    expect(rig.hub.ranges('cdn')).toHaveLength(2);
  });

  test('a small file is checked by its git hash', async () => {
    rig.hub.rule({ on: 'hub', path: /resolve-cache/, fault: flipByte(3) });
    const destination = join(rig.folder, 'config.json');
    const error = await failureOf(
      rig.client().download(rig.listing, 'config.json', destination, recordingTask()),
    );
    expect(error.code).toBe('ERR_HASH');
    expect(error.message).toContain('git sha1');
  });
});

/** A pointer as long as the file it stands for, so that only its content gives it away. */
function padded(send: (answer: { body: Buffer }) => void, pointer: Buffer = Buffer.alloc(0)): void {
  send({ body: Buffer.concat([pointer, Buffer.alloc(SIZE - pointer.length, '\n')]) });
}
