// One file from a share: several blocks, left over from an earlier run, damaged on the way.

import { closeSync, openSync, writeSync } from 'node:fs';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { commitOf, describeFile } from '../../src/hub/bundled-repo.js';
import { HubClient } from '../../src/hub/client.js';
import type { Listening } from '../../src/hub/loopback-server.js';
import { serveShared, SHARED_REPO } from '../../src/hub/share-server.js';
import type { RepoListing } from '../../src/hub/types.js';
import { receiveFile, type ReceiveTask, type WantedFile } from '../../src/share/receive-file.js';
import { noise } from '../helpers/hub/repo-folder.js';
import { recordingTask, testSettings } from '../helpers/hub/settings.js';
import { testAddon } from '../repack/fixtures.js';

const addon = testAddon();
const MIB = 1 << 20;
const SIZE = 40 * MIB + 12_345;
const NAME = 'layer_00.bin';
let folder: string;
let bytes: Buffer;
let chain: string[];
let shared: Listening;
let client: HubClient;
let listing: RepoListing;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'flashmoe-share-'));
  bytes = noise(SIZE);
  const absolutePath = join(folder, NAME);
  await writeFile(absolutePath, bytes);
  ({ chain } = await addon.hashFile(absolutePath, () => undefined).done);
  const file = await describeFile({ path: NAME, absolutePath, size: SIZE }, chain.at(-1) ?? '');
  const repo = { id: SHARED_REPO, commit: commitOf([file]), files: [file] };
  shared = await serveShared(repo, { host: '127.0.0.1', port: 0, key: null });
  client = new HubClient(testSettings(shared.origin));
  listing = await client.list(SHARED_REPO, 'main', recordingTask());
}, 60_000);
afterAll(async () => {
  client.close();
  await shared.close();
  await rm(folder, { recursive: true });
});

async function wanted(): Promise<WantedFile> {
  const target = join(await mkdtemp(join(folder, 'to-')), NAME);
  return { path: NAME, size: SIZE, chain, target };
}

function receiving(): { task: ReceiveTask; total: () => number; notices: () => string[] } {
  let arrivedBytes = 0;
  const recorded = recordingTask();
  const arrived = (more: number): void => void (arrivedBytes += more);
  const onProgress = (): void => undefined;
  return {
    task: { ...recorded, client, listing, addon, arrived, onProgress },
    total: () => arrivedBytes,
    notices: () => recorded.events.flatMap((e) => (e.type === 'notice' ? [e.message] : [])),
  };
}

const partialOf = ({ target }: WantedFile): string => `${target}.partial`;

describe('a file from a share', { timeout: 60_000 }, () => {
  test('arrives byte for byte under its final name', async () => {
    const [file, { task, total }] = [await wanted(), receiving()];
    await receiveFile(file, task);
    expect((await readFile(file.target)).equals(bytes)).toBe(true);
    expect(total()).toBe(SIZE);
    await expect(stat(partialOf(file))).rejects.toThrow('ENOENT');
  });

  test('goes on with the blocks that an earlier run left, and believes none of them unread', async () => {
    const [file, { task, total }] = [await wanted(), receiving()];
    const left = Buffer.from(bytes);
    // Block 0 was torn, block 1 is whole, the last one never came.
    left.fill(0, 5 * MIB, 16 * MIB);
    await writeFile(partialOf(file), left.subarray(0, 32 * MIB));
    await receiveFile(file, task);
    expect((await readFile(file.target)).equals(bytes)).toBe(true);
    expect(total()).toBe(SIZE - 16 * MIB);
  });

  test('that has its name but no line in the journal is checked, not fetched', async () => {
    const [file, { task, total }] = [await wanted(), receiving()];
    await writeFile(file.target, bytes);
    await receiveFile(file, task);
    expect(total()).toBe(0);
  });

  test('with a block that is damaged once is right after one more fetch of that block', async () => {
    const [file, { task, total, notices }] = [await wanted(), receiving()];
    const source = openSync(join(folder, NAME), 'r+');
    try {
      writeSync(source, Buffer.from([(bytes[20 * MIB] ?? 0) ^ 1]), 0, 1, 20 * MIB);
      const emit: ReceiveTask['emit'] = (event) => {
        task.emit(event);
        // The other side puts it right before it is asked again.
        if (event.type === 'notice') writeSync(source, bytes, 20 * MIB, 1, 20 * MIB);
      };
      await receiveFile(file, { ...task, emit });
    } finally {
      closeSync(source);
    }
    expect(notices()).toEqual([`${NAME}: block 1 came damaged; it is fetched again`]);
    expect(total()).toBe(SIZE + 16 * MIB);
    expect((await readFile(file.target)).equals(bytes)).toBe(true);
  });
});
