// The server, put together: a model that loads while the port already answers, one queue, one app. It
// owns HTTP and wire formats and must not know what an engine is made of (engine/types.ts only).

import { FlashmoeError } from '../base/errors.js';
import type { Engine } from '../engine/types.js';
import { Activity } from './activity.js';
import { createApp } from './app.js';
import type { ServerContext, ServerEvent } from './context.js';
import { Upstream } from './fast/upstream.js';
import { isLoopbackAddress } from './guard.js';
import { IdleWork, type IdleTask } from './idle-work.js';
import { listen } from './listen.js';
import { Metrics } from './metrics.js';
import { ModelHost, type InstalledModel, type ModelState } from './model-host.js';
import { Queue } from './queue.js';
import { ResponseStore } from './openai/responses/store.js';
import { Soundness } from './soundness.js';
import { given } from './wire.js';

export const DEFAULT_HOST = '127.0.0.1';
export const DEFAULT_PORT = 11435;

export interface ServeOptions {
  host?: string;
  /** 0 for any free one. */
  port?: number;
  apiKey?: string | null;
  /** Known before it is loaded; null when no model is set up. */
  modelId: string | null;
  /** Called once, when the port is bound. A rejection is what /health and all requests then report. */
  load: (signal: AbortSignal, id: string | null) => Promise<Engine>;
  /** Models that requests may name beside `modelId`. */
  installed?: () => Promise<readonly InstalledModel[]>;
  /** Milliseconds without a request after which the model is let go; absent: never, 0: at once. */
  unloadAfterMs?: number;
  /** What loading waits for, in words for whoever asks meanwhile; null when it goes on. */
  waiting?: () => string | null;
  /** Done with a model that is loaded while nobody asks for it; absent: nothing. */
  idle?: { task: IdleTask; silenceMs?: number };
  version: string;
  /** Milliseconds since the epoch. */
  now: () => number;
  emit: (event: ServerEvent) => void;
  /** Requests that may wait behind the running one. */
  queueLimit?: number;
  /** Milliseconds between the comments of a silent stream. */
  keepAliveMs?: number;
  /** Milliseconds that a client which doesn't read may hold its answer up. */
  stallMs?: number;
  /** Bytes of a request. */
  bodyLimit?: number;
  /** The other server of two tiers. */
  fast?: { url: string; model: string | null; apiKey: string | null } | null;
  /** Bytes that this process and the machine have. */
  memory?: () => { process: number; machine: number };
}

export interface RunningServer {
  url: string;
  port: number;
  /** Settles when the model is ready or failed; never rejects. */
  modelSettled: Promise<ModelState>;
  /** Lets the running answer end for at most `drainMs`, refuses the others, closes port and engine. */
  close: (drainMs?: number) => Promise<void>;
}

/** ERR_USAGE for an open address without a key, ERR_PORT_IN_USE with the owner's name. */
export async function serve(options: ServeOptions): Promise<RunningServer> {
  const address = options.host ?? DEFAULT_HOST;
  const apiKey = options.apiKey ?? null;
  const loopback = isLoopbackAddress(address);
  if (!loopback && apiKey === null) {
    throw new FlashmoeError(
      'ERR_USAGE',
      `${address} can be reached by other machines, and there is no API key`,
      { hint: `set an API key, or listen on ${DEFAULT_HOST}`, subject: 'host' },
    );
  }
  const other = options.fast ?? null;
  const fast = other === null ? null : new Upstream({ ...other, now: options.now });
  const port = deferred<void>();
  const idle =
    options.idle === undefined ? null : new IdleWork(options.idle.task, options.idle.silenceMs);
  const host = new ModelHost({
    defaultId: options.modelId,
    load: (signal, id) => port.promise.then(() => options.load(signal, id)),
    ...given('installed', options.installed),
    ...given('waiting', options.waiting),
    ...given('unloadAfterMs', options.unloadAfterMs),
    onWanted: () => idle?.giveWay(),
    onChange: (state) => {
      idle?.wait();
      options.emit(modelEvent(state, options.modelId));
    },
    now: options.now,
  });
  const queue = new Queue(options.queueLimit ?? 16);
  idle?.begin(host, queue);
  const shutdown = new AbortController();
  const context: ServerContext = {
    host,
    queue,
    metrics: new Metrics(),
    soundness: new Soundness(options.now),
    activity: new Activity(options.now),
    responses: new ResponseStore(),
    fast,
    memory: options.memory ?? (() => ({ process: 0, machine: 0 })),
    startedAt: options.now(),
    version: options.version,
    now: options.now,
    emit: options.emit,
    keepAliveMs: options.keepAliveMs ?? 10_000,
    stallMs: options.stallMs ?? 30_000,
    preparing: 0,
    bodyLimit: options.bodyLimit ?? 64 * 2 ** 20,
    toldFields: new Set(),
    shutdown: shutdown.signal,
  };
  const listener = await listen(
    createApp(context, { apiKey, loopback }),
    address,
    options.port ?? DEFAULT_PORT,
  );
  options.emit({ type: 'listening', url: listener.url });
  port.resolve();

  let closing: Promise<void> | null = null;
  const close = async (drainMs: number): Promise<void> => {
    queue.close();
    host.refuse();
    const gone = listener.close();
    const drained = setTimeout(() => {
      shutdown.abort(new FlashmoeError('ERR_INTERRUPTED', 'the server is stopping'));
      // An answer that doesn't end on being told so isn't waited for.
      setTimeout(() => listener.cut(), CUT_MS).unref();
    }, drainMs);
    await gone;
    clearTimeout(drained);
    await idle?.close();
    await host.close();
  };
  return {
    url: listener.url,
    port: listener.port,
    modelSettled: host.settled,
    close: (drainMs = 30_000) => (closing ??= close(drainMs)),
  };
}

/** Milliseconds between telling a generation to end and closing its connection. */
const CUT_MS = 5_000;

function modelEvent(state: ModelState, id: string | null): ServerEvent {
  if (state.status === 'failed') {
    return { type: 'model', status: 'failed', id, detail: state.error.message };
  }
  if (state.status === 'idle') {
    return { type: 'model', status: 'unloaded', id: state.id, detail: 'the next request loads it' };
  }
  const model = state.status === 'ready' ? state.engine.model : null;
  const detail = [model?.backend, model?.gpuMissing]
    .filter((part) => typeof part === 'string')
    .join(', ');
  return { type: 'model', status: 'ready', id: model?.id ?? id, detail };
}

function deferred<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve!: (value: T) => void;
  const promise = new Promise<T>((yes) => (resolve = yes));
  return { promise, resolve };
}
