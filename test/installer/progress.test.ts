// What a run shows of itself, from the events of real setups that were interrupted in the middle of a shard.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { fetchFigures, packFigures } from '../../src/jobs/progress.js';
import { EMPTY_RUN, reduce } from '../../src/jobs/run-view.js';
import { FaultHub } from '../helpers/hub/fault-hub.js';
import { testSettings } from '../helpers/hub/settings.js';
import { FIXTURE } from './provisioned.js';
import { only, setUp } from './in-process.js';

let home: string;
let hub: FaultHub;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'fm-progress-'));
  hub = await FaultHub.start(FIXTURE, 'org/model');
});
afterEach(async () => {
  await hub.close();
  await rm(home, { recursive: true });
});

it(
  'a run that goes on inside a shard counts no byte twice, and no layer',
  { timeout: 60_000 },
  async () => {
    const world = { hub: testSettings(hub.endpoint) };
    const request = { repo: 'org/model', bundled: null, limits: { bytesPerSecond: 1_000_000 } };
    const first = await setUp(home, {
      ...{ world, request },
      onEvent: (event, { abort }) => {
        if (event.type !== 'progress' || event.step !== 'fetch') return;
        if (event.done > event.total * 0.6) abort.abort();
      },
    });
    expect(first.error?.code).toBe('ERR_INTERRUPTED');
    const interrupted = Date.now();
    const again = await setUp(home, { world, request });
    expect(again.error).toBeNull();
    // What it took counts from the first run on.
    expect(Date.parse(again.receipt?.startedAt ?? '')).toBeLessThan(interrupted);

    const { doneBytes: begun, downloadBytes } = only(again.events, 'plan')[0]?.plan ?? {
      ...{ doneBytes: 0, downloadBytes: 0 },
    };
    // Inside the first shard, or the test shows nothing.
    const fetched = only(again.events, 'progress').filter(({ step }) => step === 'fetch');
    const earlier = fetched.reduce((most, { before = 0 }) => Math.max(most, before), 0);
    expect(earlier).toBeGreaterThan(0);
    expect(begun).toBeGreaterThan(earlier);

    let view = EMPTY_RUN;
    let last = begun;
    for (const [index, event] of again.events.entries()) {
      view = reduce(view, event, index * 100);
      if (event.type !== 'progress' || event.step !== 'fetch') continue;
      // Not clipped, as what is shown is.
      const sum = begun + view.fetch.done - view.fetch.before;
      expect(sum).toBeGreaterThanOrEqual(last);
      expect(fetchFigures(view, index * 100).doneBytes).toBe(sum);
      last = sum;
    }
    expect(last).toBe(downloadBytes);
    const { layersDone, layers } = packFigures(view, 0);
    expect(layersDone).toBe(layers);
    expect(view.limits).toEqual({ bytesPerSecond: 1_000_000, hours: null });
  },
);
