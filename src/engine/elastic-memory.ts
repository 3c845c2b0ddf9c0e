// Experts give memory back while the machine is short of it, and take it again after a minute of calm. Looked at between
// requests and, while there are none, every so often. What is computed doesn't depend on where experts lie.

import { runJob } from '../addon/load.js';
import type { NativeEngine } from '../addon/types.js';
import { monotonic } from '../base/host.js';

export interface MemoryState {
  pressure: 'normal' | 'warning' | 'critical' | null;
  /** Given at once without swapping; null where the system has no such figure. */
  availableBytes: number | null;
}

export interface ElasticMemoryParts {
  native: Pick<NativeEngine, 'resizeExperts'>;
  /** What experts stay in as long as there is enough. */
  bytes: number;
  state: () => Promise<MemoryState>;
  /** Milliseconds that never go back; absent: the machine's. */
  now?: () => number;
}

const LOOK_MS = 15_000;
const CALM_MS = 60_000;
/** Of what experts have, what they keep. */
const KEPT = { warning: 1 / 2, critical: 1 / 4 };
/** Of the plan: less than that saves nobody, and costs every token. */
const LEAST_SHARE = 1 / 16;

export class ElasticMemory {
  #bytes: number;
  #troubledAt = -Infinity;
  #looking: Promise<void> | null = null;
  #timer: NodeJS.Timeout | null = null;
  readonly #now: () => number;

  constructor(private readonly parts: ElasticMemoryParts) {
    this.#bytes = parts.bytes;
    this.#now = parts.now ?? monotonic;
  }

  /** What experts may stay in now. */
  get bytes(): number {
    return this.#bytes;
  }

  /** `isIdle`: nobody is answered. */
  start(isIdle: () => boolean): void {
    this.#timer = setInterval(() => {
      if (isIdle()) void this.look();
    }, LOOK_MS).unref();
  }

  async stop(): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer);
    await this.#looking;
  }

  /** Never fails: who can't be asked is taken for calm, and what can't be had stays with others. */
  look(): Promise<void> {
    this.#looking ??= this.#adapt()
      .catch(() => undefined)
      .finally(() => (this.#looking = null));
    return this.#looking;
  }

  async #adapt(): Promise<void> {
    const { pressure, availableBytes } = await this.parts.state();
    const now = this.#now();
    if (pressure === 'warning' || pressure === 'critical') {
      this.#troubledAt = now;
      await this.#resize(Math.max(this.parts.bytes * LEAST_SHARE, this.#bytes * KEPT[pressure]));
      return;
    }
    if (now - this.#troubledAt < CALM_MS) return;
    const more = Math.min(this.parts.bytes, this.#bytes * 2);
    if (availableBytes !== null && availableBytes < more - this.#bytes) return;
    await this.#resize(more);
  }

  async #resize(bytes: number): Promise<void> {
    const whole = Math.floor(bytes);
    if (whole === this.#bytes) return;
    this.#bytes = whole;
    await runJob(this.parts.native.resizeExperts(whole));
  }
}
