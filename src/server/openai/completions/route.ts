import { randomUUID } from 'node:crypto';
import { tellOnce, type ServerContext } from '../../context.js';
import { respond } from '../../generation.js';
import { dataEvent } from '../../sse.js';
import { CompletionEncoder } from './encoder.js';
import { completionRequests, parseCompletionBody } from './schema.js';

export function completions(
  context: ServerContext,
  http: Request,
  json: unknown,
): Promise<Response> {
  const body = parseCompletionBody(json, (field) => tellOnce(context, field));
  const requests = completionRequests(body);
  const id = `cmpl-${randomUUID().replaceAll('-', '')}`;
  const created = Math.floor(context.now() / 1000);
  const echoed = requests.map(({ prompt }) =>
    body.echo === true && typeof prompt === 'string' ? prompt : '',
  );
  const withUsage = body.stream_options?.include_usage === true;
  return respond(context, http, {
    id,
    model: body.model ?? null,
    requests,
    stream: body.stream === true,
    encoder: ({ engine }) => {
      const fingerprint = `flashmoe-${context.version}`;
      const identity = { id, created, model: engine.model.id, system_fingerprint: fingerprint };
      return new CompletionEncoder(identity, echoed, withUsage);
    },
    failed: (error) => [dataEvent(error.body())],
  });
}
