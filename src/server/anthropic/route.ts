import { randomUUID } from 'node:crypto';
import { anthropicError } from '../api-error.js';
import { tellOnce, type ServerContext } from '../context.js';
import { respond } from '../generation.js';
import { namedEvent } from '../sse.js';
import { MessagesEncoder } from './encoder.js';
import { messagesRequest, serverTools } from './request.js';
import { parseCountBody, parseMessagesBody } from './schema.js';

export function messages(context: ServerContext, http: Request, json: unknown): Promise<Response> {
  const body = parseMessagesBody(json, (field) => tellOnce(context, field));
  for (const tool of serverTools(body)) tellOnce(context, tool);
  const id = `msg_${randomUUID().replaceAll('-', '')}`;
  return respond(context, http, {
    id,
    model: body.model ?? null,
    requests: [messagesRequest(body)],
    stream: body.stream === true,
    encoder: ({ engine, prepared }) =>
      new MessagesEncoder(id, engine.model.id, prepared.prompts[0]?.ids.length ?? 0),
    failed: (error) => [namedEvent(anthropicError(error))],
  });
}

export async function countMessageTokens(
  { host }: ServerContext,
  http: Request,
  json: unknown,
): Promise<Response> {
  const body = parseCountBody(json);
  const lease = await host.acquire(body.model ?? null, http.signal);
  try {
    const request = messagesRequest(body);
    return Response.json({ input_tokens: await lease.engine.countTokens(request, http.signal) });
  } finally {
    lease.release();
  }
}
