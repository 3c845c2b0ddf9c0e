// What the page at `/` shows, as JSON. Numbers and names of this server, nothing of what was said.

import { BUCKET_MS, type Activity } from '../activity.js';
import type { ExpertsInMemory } from '../../engine/types.js';
import type { ServerContext } from '../context.js';

export async function status(context: ServerContext): Promise<Response> {
  const { host, queue, metrics, activity, now, startedAt, version } = context;
  const { state } = host;
  const model = state.status === 'ready' ? state.engine.model : null;
  return Response.json(
    {
      version,
      now: now(),
      started_at: startedAt,
      state: state.status,
      reason: host.unavailable()?.message ?? null,
      unloads_at: host.unloadsAt,
      model: model ?? (host.id === null ? null : { id: host.id }),
      models: (await host.installed()).map(({ id, about = '' }) => ({ id, about })),
      running: runningOf(activity),
      queue: { running: queue.running, waiting: queue.waiting, limit: queue.limit },
      totals: metrics.totals(),
      routes: metrics.routes(),
      experts: expertsOf(context),
      lately: { bucket_ms: BUCKET_MS, buckets: activity.lately() },
      memory: context.memory(),
    },
    { headers: { 'cache-control': 'no-store' } },
  );
}

export function expertsOf({ host }: Pick<ServerContext, 'host'>): ExpertsInMemory | null {
  const { state } = host;
  return state.status === 'ready' ? (state.engine.experts?.() ?? null) : null;
}

function runningOf(activity: Activity): object | null {
  const { running } = activity;
  if (running === null) return null;
  return { ...running, tokensPerSecond: activity.tokensPerSecond() };
}
