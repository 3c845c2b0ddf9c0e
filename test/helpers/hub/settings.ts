// Hub settings and retry policies for tests: real timers, but in milliseconds.

import type { RetryPolicy } from '../../../src/hub/retry.js';
import type { HubEvent, HubSettings, HubTask } from '../../../src/hub/types.js';

export const QUICK_RETRY: RetryPolicy = { attempts: 6, baseMs: 1, capMs: 5 };

export function testSettings(endpoint: string, changes: Partial<HubSettings> = {}): HubSettings {
  return {
    endpoint,
    token: null,
    offline: false,
    userAgent: 'flashmoe-test',
    proxy: null,
    timeouts: { responseMs: 2_000, idleMs: 2_000, floorBytesPerSecond: 0, floorWindowMs: 60_000 },
    ...changes,
  };
}

/** A task that keeps its events. */
export function recordingTask(signal = new AbortController().signal): HubTask & {
  events: HubEvent[];
} {
  const events: HubEvent[] = [];
  return { events, signal, emit: (event) => events.push(event) };
}
