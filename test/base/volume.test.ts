import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { volumeOf } from '../../src/base/volume.js';

it('answers for a path that does not exist yet with the volume it would lie on', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'fm-volume-'));
  try {
    const there = await volumeOf(folder);
    const future = await volumeOf(join(folder, 'models', 'x', 'layer_00.bin'));
    expect(future.device).toBe(there.device);
    expect(future.path).toBe(there.path);
    expect(there.freeBytes).toBeGreaterThan(0);
    expect(there.totalBytes).toBeGreaterThanOrEqual(there.freeBytes);
  } finally {
    await rm(folder, { recursive: true });
  }
});

it('tells two volumes apart', async () => {
  // Every Linux and macOS machine mounts its device folder apart from its root.
  expect((await volumeOf('/dev')).device).not.toBe((await volumeOf('/')).device);
});
