import { closeSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { volumeOf } from '../../src/base/volume.js';
import { bytesBelow } from '../../src/store/disk-usage.js';
import type { InstallEvent } from '../../src/jobs/events.js';
import type { Program } from '../helpers/child.js';
import { FaultHub } from '../helpers/hub/fault-hub.js';
import { drip } from '../helpers/hub/faults.js';
import { testSettings } from '../helpers/hub/settings.js';
import { only, setUp } from '../installer/in-process.js';
import { begin, FIXTURE, hashesBelow, jobFor, provision } from '../installer/provisioned.js';
import { mountSmallVolume, type SmallVolume } from '../installer/small-volume.js';

let home: string;
let volume: SmallVolume | null;

beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'fm-disk-'));
  volume = null;
});
afterEach(async () => {
  volume?.unmount();
  await rm(home, { recursive: true });
});

/** Leaves less than `left` bytes free on the volume of `folder`; returns the file to delete. */
function fill(folder: string, left: number): string {
  const filler = join(folder, 'filler');
  const file = openSync(filler, 'w');
  const block = Buffer.alloc(32 * 1024, 1);
  try {
    for (let free = Infinity; free > left;) {
      writeSync(file, block);
      const { bavail, bsize } = statfsSync(folder);
      free = bavail * bsize;
    }
  } catch (error) {
    // The setup took the last block.
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  } finally {
    closeSync(file);
  }
  return filler;
}

describe('a volume without enough room', { timeout: 60_000 }, () => {
  it('is refused before the first byte, although the home has room', async ({ skip }) => {
    volume = mountSmallVolume(join(home, 'models'), 2 << 20);
    if (volume === null) skip('no volume');
    const { error, events } = await setUp(home);
    expect(error).toMatchObject({
      code: 'ERR_DISK_FULL',
      message: expect.stringMatching(/models\/tiny needs .* nothing was written/) as string,
      hint: expect.stringMatching(/^free .* on the volume of .*models/) as string,
    });
    const plan = only(events, 'plan')[0]?.plan;
    expect(plan?.freeBytes).toBeLessThan(plan?.peakBytes ?? 0);
    expect(await readdir(join(home, 'models'))).toEqual([]);
  });

  it('that fills up in the middle is a pause that ends when there is room again', async ({
    skip,
  }) => {
    volume = mountSmallVolume(join(home, 'models'), 8 << 20);
    if (volume === null) skip('no volume');
    let filler: string | null = null;
    const { error, events } = await setUp(home, {
      onEvent: (event) => {
        if (event.type === 'shard' && event.step === 'fetch' && event.status === 'started') {
          filler ??= fill(join(home, 'models'), 100_000);
        }
        if (event.type === 'waiting' && /^the model needs/.test(event.reason)) {
          if (filler !== null) rmSync(filler, { force: true });
        }
      },
    });
    expect(error).toBeNull();
    const waits = only(events, 'waiting');
    expect(waits.every(({ code }) => code === 'ERR_DISK_FULL')).toBe(true);
    expect(waits.map(({ reason }) => reason)).toContainEqual(
      expect.stringMatching(/^the model needs [\d.]+ [kM]B more on the volume of /),
    );
    expect(only(events, 'resumed').length).toBeGreaterThan(0);
    const other = await setUp(join(home, 'other'));
    expect(other.error).toBeNull();
    expect(await hashesBelow(join(home, 'models', 'tiny'))).toEqual(
      await hashesBelow(join(home, 'other', 'models', 'tiny')),
    );
  });

  it('can be left while it waits, and the next run goes on', async ({ skip }) => {
    volume = mountSmallVolume(join(home, 'models'), 8 << 20);
    if (volume === null) skip('no volume');
    const fillers: string[] = [];
    const stopped = await setUp(home, {
      onEvent: (event, { abort }) => {
        if (event.type === 'shard' && event.status === 'started' && fillers.length === 0) {
          fillers.push(fill(join(home, 'models'), 4096));
        }
        if (event.type === 'waiting') abort.abort();
      },
    });
    expect(stopped.error).toMatchObject({ code: 'ERR_INTERRUPTED', resumable: true });
    await rm(fillers[0] ?? '');
    expect((await setUp(home)).error).toBeNull();
  });

  it('is watched by what a volume says where none can be mounted', async () => {
    // Injected: the same run against figures of a volume that is full twice and unmounted once.
    const real = await volumeOf(home);
    const answers = [
      { ...real, freeBytes: 1_000 },
      { ...real, device: real.device + 1 },
      { ...real, freeBytes: 2_000 },
    ];
    let armed = false;
    const { error, events } = await setUp(home, {
      world: { volume: () => Promise.resolve((armed && answers.shift()) || real) },
      onEvent: (event) => {
        armed ||= event.type === 'step' && event.step === 'fetch';
      },
    });
    expect(error).toBeNull();
    expect(only(events, 'waiting')).toMatchObject([
      { code: 'ERR_DISK_FULL', reason: /^the model needs .* more on the volume of/ },
      { code: 'ERR_HOME', reason: /is not mounted$/ },
      { code: 'ERR_DISK_FULL' },
    ]);
    expect(only(events, 'resumed')).toHaveLength(1);
  });
});

it('a volume that others fill while bytes run stops them before it is full', async () => {
  const real = await volumeOf(home);
  const hub = await FaultHub.start(FIXTURE, 'flashmoe/tiny');
  let isFull = false;
  try {
    const { error, events } = await setUp(home, {
      request: { bundled: null },
      world: {
        hub: testSettings(hub.endpoint),
        volume: () => Promise.resolve(isFull ? { ...real, freeBytes: 1_000 } : real),
      },
      onEvent: (event) => {
        if (event.type === 'shard' && event.status === 'started' && hub.log.length > 0) {
          // The disk is looked at every two seconds.
          hub.reset();
          hub.rule({ on: 'cdn', fault: drip(4_000, 50) });
        }
        if (event.type === 'progress' && event.done > 0 && hub.log.length > 0) isFull = true;
        if (event.type === 'waiting') {
          isFull = false;
          hub.reset();
        }
      },
    });
    expect(error).toBeNull();
    expect(only(events, 'waiting')[0]).toMatchObject({
      code: 'ERR_DISK_FULL',
      reason: 'the model: the disk is full',
    });
  } finally {
    await hub.close();
  }
}, 120_000);

/**
 * A folder's size at one moment: what is deleted and written during a walk would be counted together. A stopped
 * process changes nothing, so two walks that agree saw one moment.
 */
async function bytesWhileStopped({ process }: Program, folder: string): Promise<number> {
  process.kill('SIGSTOP');
  try {
    for (let before = -1; ;) {
      const bytes = await bytesBelow(folder);
      if (bytes === before) return bytes;
      before = bytes;
    }
  } finally {
    process.kill('SIGCONT');
  }
}

describe('a setup in a process of its own', { timeout: 60_000 }, () => {
  it.each(['4bit', '2bit'] as const)(
    'at %s never has more on disk than its plan promised',
    async (quant) => {
      const program = begin(jobFor(home, quant));
      const models = join(home, 'models');
      const events: InstallEvent[] = [];
      let most = 0;
      while (events.at(-1)?.type !== 'finished') {
        events.push(JSON.parse(await program.line()) as InstallEvent);
        most = Math.max(most, await bytesWhileStopped(program, models));
      }
      expect(await program.ended).toBe(0);
      const plan = only(events, 'plan')[0]?.plan;
      expect(most).toBeGreaterThan(plan?.finalBytes ?? Infinity);
      expect(most).toBeLessThanOrEqual(plan?.peakBytes ?? 0);
    },
  );

  it('stops at one SIGINT with status 130 and the command that goes on', async () => {
    const program = begin(jobFor(home, '4bit'));
    const events: InstallEvent[] = [];
    while (events.at(-1)?.type !== 'failed') {
      const event = JSON.parse(await program.line()) as InstallEvent;
      events.push(event);
      if (event.type === 'layer' && event.status === 'done') program.process.kill('SIGINT');
    }
    expect(await program.ended).toBe(130);
    expect(events.at(-1)).toMatchObject({
      code: 'ERR_INTERRUPTED',
      hint: 'run `flashmoe setup --model tiny` to go on',
      resumable: true,
    });
    const again = await provision(jobFor(home, '4bit'));
    expect(again.events.at(-1)).toMatchObject({ type: 'finished' });
    expect(only(again.events, 'layer').some(({ status }) => status === 'skipped')).toBe(true);
  });

  it('is told apart from a second one, which learns what the first is doing', async () => {
    await mkdir(join(home, 'models'));
    const first = begin(jobFor(home, '4bit'));
    for (;;) {
      const event = JSON.parse(await first.line()) as InstallEvent;
      if (event.type === 'step' && event.step === 'fetch') break;
    }
    first.process.kill('SIGSTOP');
    const second = await provision(jobFor(home, '4bit'));
    expect(second.status).toBe(1);
    expect(second.events.at(-1)).toMatchObject({ type: 'failed', code: 'ERR_LOCKED' });
    first.process.kill('SIGKILL');
    await first.ended;
    const third = await provision(jobFor(home, '4bit'));
    expect(third.events.at(-1)).toMatchObject({ type: 'finished' });
  });
});
