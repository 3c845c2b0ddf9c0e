// What every route is given. Clock and log are injected; nothing here prints.

import type { Timings, Usage } from '../engine/types.js';
import type { Activity } from './activity.js';
import type { Upstream } from './fast/upstream.js';
import type { Metrics } from './metrics.js';
import type { ModelHost } from './model-host.js';
import type { Queue } from './queue.js';
import type { ResponseStore } from './openai/responses/store.js';
import type { Soundness } from './soundness.js';

/** What a server tells its owner. Never a prompt, an answer or a key. */
export type ServerEvent =
  | { type: 'listening'; url: string }
  | { type: 'model'; status: 'ready' | 'failed' | 'unloaded'; id: string | null; detail: string }
  | {
      type: 'request';
      /** As the client got it, in x-request-id. */
      id: string;
      method: string;
      path: string;
      status: number;
      seconds: number;
      /** Why it was refused or failed; null when it wasn't. */
      reason: string | null;
    }
  /** What came of a model that nobody had judged, asked while nobody else asked. */
  | { type: 'judged'; id: string; verdict: string; reason: string | null }
  | { type: 'generation'; id: string; outcome: string; usage: Usage; timings: Timings }
  | { type: 'error'; code: string; message: string }
  /** Request fields this server has never heard of; told once each. */
  | { type: 'unknown-field'; field: string };

export interface ServerContext {
  host: ModelHost;
  queue: Queue;
  metrics: Metrics;
  /** Whether answers fail. */
  soundness: Soundness;
  activity: Activity;
  /** What `previous_response_id` can go on from. */
  responses: ResponseStore;
  /** flashmoe's version, for `system_fingerprint`. */
  version: string;
  /** The other one of two tiers; null for a server that answers all by itself. */
  fast: Upstream | null;
  /** Of this process and of the machine, in bytes. */
  memory: () => { process: number; machine: number };
  startedAt: number;
  /** Milliseconds since the epoch. */
  now: () => number;
  emit: (event: ServerEvent) => void;
  /** Milliseconds between the comments of a silent stream. */
  keepAliveMs: number;
  /** Milliseconds that a client which doesn't read may hold its answer up. */
  stallMs: number;
  /** Requests that are made ready for the queue. */
  preparing: number;
  /** Bytes. */
  bodyLimit: number;
  /** Names of unknown fields the owner has been told of. */
  toldFields: Set<string>;
  /** Fires when running generations must end: the server's time to drain is over. */
  shutdown: AbortSignal;
}

/** Names of fields come from outside, so there is an end to remembering them. */
const MAX_TOLD = 256;

export function tellOnce({ toldFields, emit }: ServerContext, field: string): void {
  if (toldFields.has(field) || toldFields.size >= MAX_TOLD) return;
  toldFields.add(field);
  emit({ type: 'unknown-field', field: field.slice(0, 64) });
}
