import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, expectTypeOf, it, test } from 'vitest';
import type * as z from 'zod';
import { eventLine, installEvent } from '../../src/jobs/event-schema.js';
import type { InstallEvent } from '../../src/jobs/events.js';
import { toNdjson } from '../../src/ui/ndjson.js';
import { projectRoot } from '../helpers/built-cli.js';
import { setUp } from '../installer/in-process.js';

test('the schema names every type of event and no other', () => {
  expectTypeOf<z.infer<typeof installEvent>['type']>().toEqualTypeOf<InstallEvent['type']>();
});

test('an event of another form is refused', () => {
  expect(installEvent.safeParse({ type: 'disk', usedBytes: -1, freeBytes: 0 }).success).toBe(false);
  expect(installEvent.safeParse({ type: 'dreamt' }).success).toBe(false);
});

test('recorded runs are of this schema', async () => {
  const folder = join(projectRoot, 'test/fixtures/events');
  for (const name of await readdir(folder)) {
    const lines = (await readFile(join(folder, name), 'utf8')).trim().split('\n');
    for (const line of lines) {
      const { v, t, event, ...fields } = eventLine.parse(JSON.parse(line));
      expect([v, typeof t]).toEqual([1, 'string']);
      const parsed = installEvent.safeParse({ type: event, ...fields });
      expect(parsed.error?.issues, `${name}: ${line}`).toBeUndefined();
    }
  }
});

it('every event of a real run, its end and a resume included, is of this schema', async () => {
  const home = await mkdtemp(join(tmpdir(), 'fm-events-'));
  try {
    const stopped = await setUp(home, {
      request: { limits: { bytesPerSecond: 5_000_000 } },
      onEvent: (event, { abort }) => {
        if (event.type === 'layer' && event.status === 'done') abort.abort();
      },
    });
    const whole = await setUp(home, { request: { limits: { bytesPerSecond: null } } });
    expect(whole.error).toBeNull();
    const types = new Set<string>();
    for (const event of [...stopped.events, ...whole.events]) {
      const { type, ...fields } = event;
      types.add(type);
      const line = JSON.parse(toNdjson(type, fields, 0)) as { event: string };
      const { event: name, ...rest } = eventLine.parse(line);
      const parsed = installEvent.safeParse({ ...rest, type: name });
      expect(parsed.error?.issues, JSON.stringify(event)).toBeUndefined();
    }
    expect([...types].sort()).toEqual(
      expect.arrayContaining(['answer', 'disk', 'failed', 'finished', 'layer', 'plan', 'progress']),
    );
  } finally {
    await rm(home, { recursive: true });
  }
});
