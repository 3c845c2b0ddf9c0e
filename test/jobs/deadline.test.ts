import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { currentHost } from '../../src/base/host.js';
import { readRecord } from '../../src/jobs/record/recorder.js';
import { summarise } from '../../src/jobs/record/summary.js';
import { setUp } from '../installer/in-process.js';

const home = mkdtempSync(join(tmpdir(), 'flashmoe-deadline-'));
afterAll(() => rmSync(home, { recursive: true }));

it('a deadline ends a setup that is not done; the receipt of the next run counts the bytes of both', async () => {
  const began = Date.now();
  let ahead = 0;
  const host = { ...currentHost(), now: () => Date.now() + ahead };
  const first = await setUp(home, {
    request: {
      deadline: began + 24 * 3_600_000,
      limits: { bytesPerSecond: 50_000, hours: null },
    },
    world: { host },
    onEvent: (event) => {
      if (event.type === 'progress' && event.done > 0) ahead = 25 * 3_600_000;
    },
  });
  expect(first.error).toMatchObject({ code: 'ERR_DEADLINE', resumable: true });
  const record = join(home, 'models/tiny/record.ndjson');
  const before = summarise(await readRecord(record));
  expect(before).toMatchObject({ runs: 1, outcome: 'ERR_DEADLINE' });
  expect(before.receivedBytes).toBeGreaterThan(0);

  const second = await setUp(home, { request: { limits: { bytesPerSecond: null } } });
  expect(second.error).toBeNull();
  const { downloadedBytes = 0, neededBytes = 0 } = second.receipt ?? {};
  // What the first run got counts, too, and it may have lost a little of it.
  expect(downloadedBytes).toBeGreaterThanOrEqual(neededBytes);
  expect(summarise(await readRecord(record))).toMatchObject({ runs: 2, outcome: 'finished' });
}, 120_000);
