import { rm } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { HubClient } from '../../src/hub/client.js';
import { measureRate } from '../../src/installer/steps/rate.js';
import { FaultHub } from '../helpers/hub/fault-hub.js';
import { drip } from '../helpers/hub/faults.js';
import { makeRepoFolder, SHARD } from '../helpers/hub/repo-folder.js';
import { QUICK_RETRY, recordingTask, testSettings } from '../helpers/hub/settings.js';

it('the rate of a line is measured from the bytes that came over it, and unknown when none came', async () => {
  const { folder } = await makeRepoFolder(400_000);
  const hub = await FaultHub.start(folder, 'org/model');
  const client = new HubClient(testSettings(hub.endpoint), { metadataRetry: QUICK_RETRY });
  const task = recordingTask();
  try {
    const listing = await client.list('org/model', 'main', task);
    hub.rule({ on: 'cdn', times: 1, fault: drip(20_000, 10) });
    const rate = await measureRate(client, listing, SHARD, task.signal);
    // 20 kB every 10 ms at best; timers and a busy machine only make it slower.
    expect(rate).toBeGreaterThan(20_000);
    expect(rate).toBeLessThanOrEqual(2_100_000);

    hub.rule({ on: 'cdn', fault: ({ send }) => send({ status: 500 }) });
    expect(await measureRate(client, listing, SHARD, task.signal)).toBeNull();
    expect(await measureRate(client, listing, undefined, task.signal)).toBeNull();
  } finally {
    client.close();
    await hub.close();
    await rm(folder, { recursive: true });
  }
});
