// A fault hub, a client that talks to it, and a folder to download into, for one test file.

import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach } from 'vitest';
import { HubClient, type HubClientOptions } from '../../../src/hub/client.js';
import { FlashmoeError } from '../../../src/base/errors.js';
import type { HubSettings, RepoListing } from '../../../src/hub/types.js';
import { FaultHub } from './fault-hub.js';
import { makeRepoFolder, SHARD, type RepoFolder } from './repo-folder.js';
import { QUICK_RETRY, recordingTask, testSettings } from './settings.js';

export const REPO = 'flashmoe/test';

export interface Rig {
  hub: FaultHub;
  repo: RepoFolder;
  /** Of this test alone, empty at its start. */
  folder: string;
  listing: RepoListing;
  /** Where `download` puts the shard. */
  destination: string;
  client(settings?: Partial<HubSettings>, options?: HubClientOptions): HubClient;
  /** Downloads the shard with a fresh client; the events are in `task`. */
  download(
    settings?: Partial<HubSettings>,
    options?: HubClientOptions,
  ): Promise<{
    task: ReturnType<typeof recordingTask>;
    fetchedBytes: number;
    resumedBytes: number;
  }>;
  /** True when the destination holds the shard and nothing else lies in the folder. */
  isComplete(): Promise<boolean>;
}

/** Call at the top of a test file: starts everything before its tests, forgets rules and files before each. */
export function useRig(shardBytes: number): Rig {
  const clients: HubClient[] = [];
  const rig = {
    get destination() {
      return join(rig.folder, SHARD);
    },
    client: (settings, options = {}) => {
      const client = new HubClient(testSettings(rig.hub.endpoint, settings), {
        metadataRetry: QUICK_RETRY,
        downloadRetry: QUICK_RETRY,
        ...options,
      });
      clients.push(client);
      return client;
    },
    download: async (settings, options) => {
      const task = recordingTask();
      const client = rig.client(settings, options);
      const result = await client.download(rig.listing, SHARD, rig.destination, task);
      return { task, ...result };
    },
    isComplete: async () => {
      const names = await readdir(rig.folder);
      return names.length === 1 && (await readFile(rig.destination)).equals(rig.repo.shard);
    },
  } as Rig;
  let root: string;
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'flashmoe-hub-'));
    rig.repo = await makeRepoFolder(shardBytes);
    rig.hub = await FaultHub.start(rig.repo.folder, REPO);
    rig.listing = await rig.client().list(REPO, 'main', recordingTask());
  });
  beforeEach(async () => {
    rig.hub.reset();
    rig.folder = await mkdtemp(join(root, 'test-'));
  });
  afterAll(async () => {
    for (const client of clients) client.close();
    await rig.hub.close();
    await rm(rig.repo.folder, { recursive: true });
    await rm(root, { recursive: true });
  });
  return rig;
}

/** The FlashmoeError that `promise` rejects with. */
export async function failureOf(promise: Promise<unknown>): Promise<FlashmoeError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof FlashmoeError) return error;
    throw error;
  }
  throw new Error('it did not fail');
}
