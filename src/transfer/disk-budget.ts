// Room on the volume that the model lies on. Before the first byte too little of it is an error; later it
// is a pause that ends by itself when there is room again.

import { setTimeout as sleep } from 'node:timers/promises';
import { asFlashmoeError, FlashmoeError } from '../base/errors.js';
import { formatBytes, formatBytesBoth } from '../base/format.js';
import { volumeOf, type Volume } from '../base/volume.js';
import { bytesBelow } from '../store/disk-usage.js';
import type { Emit } from '../jobs/events.js';
import type { PauseReasons } from '../jobs/pause-reasons.js';

export interface DiskBudgetOptions {
  /** The model's folder; need not exist yet. */
  path: string;
  emit: Emit;
  pauseReasons: PauseReasons;
  /** Kept free beyond every need, so that the machine itself does not stop. */
  reserveBytes: number;
  pollMs?: number;
  volume?: (path: string) => Promise<Volume>;
}

const POLL_MS = 2_000;

export class DiskBudget {
  readonly #options: DiskBudgetOptions;
  readonly #volume: (path: string) => Promise<Volume>;
  #device: number | null = null;
  #peakBytes = 0;

  constructor(options: DiskBudgetOptions) {
    this.#options = options;
    this.#volume = options.volume ?? volumeOf;
  }

  /** Most bytes seen in the folder at any sample. */
  get peakBytes(): number {
    return this.#peakBytes;
  }

  /**
   * Throws ERR_DISK_FULL when the folder cannot grow to `peakBytes`. Writes nothing; binds to the volume.
   * `begun`: whether an earlier run left something, for the words.
   */
  async admit(peakBytes: number, begun: boolean): Promise<void> {
    const { path, reserveBytes } = this.#options;
    const [volume, used] = await Promise.all([this.#volume(path), bytesBelow(path)]);
    this.#device = volume.device;
    const missing = peakBytes - used + reserveBytes - volume.freeBytes;
    if (missing <= 0) return;
    throw new FlashmoeError(
      'ERR_DISK_FULL',
      `${path} needs ${formatBytesBoth(peakBytes - used + reserveBytes)} of free space, its volume has ` +
        `${formatBytesBoth(volume.freeBytes)}; ${begun ? 'what is there was kept' : 'nothing was written'}`,
      { hint: `free ${formatBytesBoth(missing)} on the volume of ${volume.path}`, resumable: true },
    );
  }

  /** Tells how full the folder and its volume are. */
  async sample(): Promise<void> {
    const { path, emit } = this.#options;
    const [{ freeBytes }, usedBytes] = await Promise.all([this.#volume(path), bytesBelow(path)]);
    this.#peakBytes = Math.max(this.#peakBytes, usedBytes);
    emit({ type: 'disk', usedBytes, freeBytes });
  }

  /** Throws ERR_DISK_FULL when less than the reserve is free: a pause for `patiently`. */
  async keepReserve(item: string): Promise<void> {
    const { path, reserveBytes } = this.#options;
    const { freeBytes } = await this.#volume(path);
    if (freeBytes >= reserveBytes) return;
    throw new FlashmoeError('ERR_DISK_FULL', `${item}: the disk is nearly full`, {
      resumable: true,
    });
  }

  /** Waits until `bytes` and the reserve are free on the right volume. */
  async waitForRoom(bytes: number, item: string, signal: AbortSignal): Promise<void> {
    const { path, pauseReasons, reserveBytes, pollMs = POLL_MS } = this.#options;
    const key = `disk ${item}`;
    try {
      for (;;) {
        const volume = await this.#volume(path);
        this.#device ??= volume.device;
        const missing = bytes + reserveBytes - volume.freeBytes;
        if (volume.device !== this.#device) {
          const reason = `the volume of ${path} is not mounted`;
          pauseReasons.hold(key, { code: 'ERR_HOME', reason });
        } else if (missing > 0) {
          const reason = `${item} needs ${formatBytes(missing)} more on the volume of ${volume.path}`;
          pauseReasons.hold(key, { code: 'ERR_DISK_FULL', reason });
        } else {
          return;
        }
        await pause(pollMs, signal);
      }
    } finally {
      pauseReasons.release(key);
    }
  }

  /**
   * Runs `write`, and again whenever the disk was full, as soon as `need()` bytes are free. Everything
   * else that it throws ends the wait.
   */
  async patiently<T>(
    item: string,
    need: () => Promise<number>,
    signal: AbortSignal,
    write: () => Promise<T>,
  ): Promise<T> {
    for (;;) {
      try {
        return await write();
      } catch (thrown) {
        const error = asFlashmoeError(thrown);
        if (error.code !== 'ERR_DISK_FULL' || signal.aborted) throw error;
        const { pauseReasons, pollMs = POLL_MS } = this.#options;
        // A quota, or another writer: the volume's own figure may say that there is room.
        pauseReasons.hold(`disk ${item}`, {
          code: 'ERR_DISK_FULL',
          reason: `${item}: the disk is full`,
        });
        await pause(pollMs, signal);
        await this.waitForRoom(await need(), item, signal);
      }
    }
  }
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(ms, undefined, { signal });
  } catch (error) {
    throw signal.aborted ? (signal.reason as Error) : error;
  }
}
