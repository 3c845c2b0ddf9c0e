import { randomUUID } from 'node:crypto';
import { completionRequests, parseCompletionBody } from './schema.js';
import { CompletionEncoder } from './encoder.js';
import { tellOnce, type ServerContext } from '../../context.js';
import { begin, streamed, whole } from '../../generation.js';

export async function completions(
  context: ServerContext,
  http: Request,
  json: unknown,
): Promise<Response> {
  const body = parseCompletionBody(json, (field) => tellOnce(context, field));
  const requests = completionRequests(body);
  const id = `cmpl-${randomUUID().replaceAll('-', '')}`;
  const generation = await begin(context, http, id, requests);
  const identity = {
    id,
    created: Math.floor(context.now() / 1000),
    model: generation.engine.model.id,
    system_fingerprint: `flashmoe-${context.version}`,
  };
  const echoed = requests.map(({ prompt }) =>
    body.echo === true && typeof prompt === 'string' ? prompt : '',
  );
  const withUsage = body.stream_options?.include_usage !== false;
  const encoder = new CompletionEncoder(identity, echoed, withUsage);
  if (body.stream === true) return streamed(context, generation, requests, encoder);
  await whole(context, generation, requests, encoder);
  return Response.json(encoder.body());
}
