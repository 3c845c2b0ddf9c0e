// Two tiers in front of one API: what the rules give to the other server goes there, all else stays here. A
// request that only the rules sent there is answered here when the other server can't.

import { ApiError, toApiError } from '../api-error.js';
import type { ServerContext } from '../context.js';
import { dataEvent, namedEvent } from '../sse.js';
import { decide, ROUTE_HEADER, type Decision } from './decide.js';
import type { Upstream } from './upstream.js';

export const REASON_HEADER = 'x-flashmoe-route-reason';

export type Routed = { response: Response } | { local: Extract<Decision, { route: 'local' }> };

/** @param path with /v1, e.g. /v1/chat/completions */
export async function routed(
  context: ServerContext,
  upstream: Upstream,
  http: Request,
  path: string,
  body: unknown,
): Promise<Routed> {
  const fields = isObject(body) ? body : {};
  const header = http.headers.get(ROUTE_HEADER);
  const models = header === 'local' ? null : await upstream.models();
  const decision = decide(fields, header, models, context.host.id);
  if (decision === null) {
    throw new ApiError(400, `${ROUTE_HEADER} is fast, local or auto, not ${header ?? ''}`, {
      param: ROUTE_HEADER,
    });
  }
  if (decision.route === 'local') {
    const named = fields.model === 'fast' || header === 'fast';
    if (decision.reason === 'unavailable' && named) throw noModel();
    return { local: decision };
  }
  const { model, mustBe } = decision;
  const asked = { ...fields, model };
  const answer = await upstream
    .ask(path.replace(/^\/v1/, ''), asked, http.headers, http.signal)
    .catch((thrown: unknown) => {
      if (mustBe || http.signal.aborted) throw thrown;
      return null;
    });
  const isFit = answer !== null && (mustBe || !CANNOT.has(answer.status));
  if (!isFit) {
    await answer?.body?.cancel();
    return { local: { route: 'local', reason: 'unavailable' } };
  }
  return { response: marked(context, whole(answer, path), decision) };
}

/** Tells the route, in the answer and in the metrics. */
export function marked(context: ServerContext, response: Response, decision: Decision): Response {
  const { route, reason } = decision;
  context.metrics.route(route, reason);
  response.headers.set(ROUTE_HEADER, route);
  response.headers.set(REASON_HEADER, reason);
  return response;
}

/** What another server says when it has no such endpoint, no such model, or no time. */
const CANNOT = new Set([404, 405, 429, 500, 501, 502, 503, 504]);

function noModel(): ApiError {
  return new ApiError(502, 'the fast upstream does not tell what models it has', {
    type: 'upstream_error',
    code: 'upstream_unavailable',
  });
}

/** An event stream that breaks off says so in its own form: half an answer must not look like a whole one. */
function whole(response: Response, path: string): Response {
  const isStream = /^text\/event-stream\b/.test(response.headers.get('content-type') ?? '');
  if (response.body === null || !isStream) return response;
  const reader = (response.body as ReadableStream<Uint8Array>).getReader();
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const { done, value } = await reader.read();
        if (done) controller.close();
        else controller.enqueue(value);
      } catch {
        const error = new ApiError(502, 'the fast upstream broke off its answer', {
          type: 'upstream_error',
          code: 'upstream_broke_off',
        });
        controller.enqueue(new TextEncoder().encode(brokenOff(error, path)));
        controller.close();
      }
    },
    cancel: (reason) => reader.cancel(reason),
  });
  return new Response(body, { status: response.status, headers: response.headers });
}

function brokenOff(error: ApiError, path: string): string {
  const { message, type } = toApiError(error).body().error;
  if (path.endsWith('/messages')) return namedEvent({ type: 'error', error: { type, message } });
  return dataEvent(error.body());
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
