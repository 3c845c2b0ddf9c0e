import type { ServerContext } from '../context.js';

/** 200 when the model can answer; 503 with the reason while it loads or when it can't. */
export function health({ host, queue }: ServerContext): Response {
  const reason = host.unavailable();
  if (reason === null) {
    return Response.json({ status: 'ok', model: host.engine().model.id, queue: queue.length });
  }
  const status = host.state.status === 'loading' ? 'loading' : 'error';
  return Response.json(
    { status, model: host.id, ...reason.body() },
    { status: 503, headers: reason.details.headers ?? {} },
  );
}
