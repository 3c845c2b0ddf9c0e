import { execFile, execFileSync } from 'node:child_process';
import { mkdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import type { HubEvent } from '../../src/hub/types.js';
import { builtProgram } from '../helpers/built-program.js';
import { start } from '../helpers/child.js';
import { drip } from '../helpers/hub/faults.js';
import { SHARD } from '../helpers/hub/repo-folder.js';
import { REPO, useRig } from '../helpers/hub/rig.js';

const SIZE = 3_000_000;
const rig = useRig(SIZE);
const PROGRAM = new URL('./programs/downloader.ts', import.meta.url);

test('a download killed with SIGKILL goes on from what is on disk, and ends identical', async () => {
  rig.hub.rule({ on: 'cdn', times: 2, fault: drip(60_000, 10) });
  const reached: number[] = [];
  for (const goal of [500_000, 1_500_000]) {
    const child = start(PROGRAM, [REPO, SHARD, rig.destination], {
      HF_ENDPOINT: rig.hub.endpoint,
    });
    for (let done = 0; done < goal;) {
      const event = JSON.parse(await child.line()) as HubEvent;
      if (event.type === 'progress') done = event.done;
    }
    child.process.kill('SIGKILL');
    expect(await child.ended).toBe('SIGKILL');
    reached.push((await stat(`${rig.destination}.partial`)).size);
  }
  const { fetchedBytes, resumedBytes, task } = await rig.download();
  expect(await rig.isComplete()).toBe(true);
  const [first = 0, second = 0] = reached;
  expect(first).toBeGreaterThanOrEqual(500_000);
  expect(second).toBeGreaterThan(first);
  expect({ resumedBytes, fetchedBytes }).toEqual({
    resumedBytes: second,
    fetchedBytes: SIZE - second,
  });
  expect(rig.hub.ranges('cdn').map((range) => range?.start)).toEqual([0, first, second]);
  expect(task.events[0]).toEqual({ type: 'resumed', file: SHARD, from: second, total: SIZE });
});

const canMount = (() => {
  try {
    execFileSync('unshare', ['-rm', 'mount', '-t', 'tmpfs', 'tmpfs', '/tmp'], { stdio: 'ignore' });
    return true;
  } catch {
    console.log('SKIP a full disk: no private tmpfs can be mounted here');
    return false;
  }
})();

test.skipIf(!canMount)(
  'a disk that fills up keeps the partial, says what is missing, and goes on later',
  async () => {
    const mountPoint = join(rig.folder, 'disk');
    await mkdir(mountPoint);
    const run = [process.execPath, builtProgram(fileURLToPath(PROGRAM)), REPO, SHARD];
    const script = `
    mount -t tmpfs -o size=1m tmpfs "$0" && "$@" "$0/shard"
    wc -c < "$0/shard.partial"
    mount -o remount,size=8m "$0" && "$@" "$0/shard" > /dev/null
    cp "$0/shard" "$0.result"`;
    const inside = ['-rm', 'bash', '-c', script, mountPoint, ...run];
    const env = { ...process.env, HF_ENDPOINT: rig.hub.endpoint };
    const { stdout } = await promisify(execFile)('unshare', inside, { env });
    const lines = stdout.trim().split('\n');
    const kept = Number(lines.pop());
    expect(kept).toBeGreaterThan(900_000);
    expect(kept).toBeLessThanOrEqual(1024 * 1024);
    expect(JSON.parse(lines.pop() ?? '')).toEqual({
      code: 'ERR_DISK_FULL',
      message: expect.stringMatching(
        /^model-0.*: the disk is full at .* of 3\.00 MB; .* were kept in the partial file$/,
      ) as unknown,
      hint: expect.stringMatching(/^free at least .* MB, then run the command again$/) as unknown,
    });
    expect((await readFile(`${mountPoint}.result`)).equals(rig.repo.shard)).toBe(true);
    const ranges = rig.hub.ranges('cdn').map((range) => range?.start);
    expect(ranges).toEqual([0, kept]);
  },
);
