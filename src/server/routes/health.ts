import type { ServerContext } from '../context.js';

/** 200 when the model can answer; 503 with the reason while it loads or when it can't. */
export function health({ host, queue }: ServerContext): Response {
  const reason = host.unavailable();
  if (reason === null) {
    const { id: model, backend, isa, gpuMissing } = host.engine().model;
    const warning = gpuMissing === null ? {} : { warning: gpuMissing };
    return Response.json({ status: 'ok', model, backend, isa, queue: queue.length, ...warning });
  }
  const status = host.state.status === 'loading' ? 'loading' : 'error';
  return Response.json(
    { status, model: host.id, ...reason.body() },
    { status: 503, headers: reason.details.headers ?? {} },
  );
}
