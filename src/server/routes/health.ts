import type { ServerContext } from '../context.js';

/** 200 when the model can answer; 503 with the reason while it loads, when it can't, or when answers fail. */
export function health({ host, queue, soundness, shutdown }: ServerContext): Response {
  soundness.tryAgain(host, queue, shutdown);
  const reason = host.unavailable() ?? soundness.failure;
  if (reason === null) {
    if (host.state.status !== 'ready') {
      return Response.json({ status: 'ok', model: host.id, loaded: false, queue: queue.length });
    }
    const { id: model, backend, isa, gpuMissing } = host.state.engine.model;
    const warning = gpuMissing === null ? {} : { warning: gpuMissing };
    return Response.json({ status: 'ok', model, backend, isa, queue: queue.length, ...warning });
  }
  const status = host.state.status === 'loading' ? 'loading' : 'error';
  return Response.json(
    { status, model: host.id, ...reason.body() },
    { status: 503, headers: reason.details.headers ?? {} },
  );
}
