import { randomUUID } from 'node:crypto';
import { tellOnce, type ServerContext } from '../../context.js';
import { respond } from '../../generation.js';
import { dataEvent } from '../../sse.js';
import { ChatEncoder } from './encoder.js';
import { chatRequest, choiceRequests } from './request.js';
import { parseChatBody } from './schema.js';

export function chatCompletions(
  context: ServerContext,
  http: Request,
  json: unknown,
): Promise<Response> {
  const body = parseChatBody(json, (field) => tellOnce(context, field));
  const id = `chatcmpl-${randomUUID().replaceAll('-', '')}`;
  const created = Math.floor(context.now() / 1000);
  const withUsage = body.stream_options?.include_usage === true;
  const progress = body.return_progress === true ? context.now : null;
  return respond(context, http, {
    id,
    model: body.model ?? null,
    requests: choiceRequests(chatRequest(body), body.n ?? 1),
    stream: body.stream === true,
    encoder: ({ engine }) => {
      const fingerprint = `flashmoe-${context.version}`;
      const identity = { id, created, model: engine.model.id, system_fingerprint: fingerprint };
      return new ChatEncoder(identity, withUsage, progress);
    },
    failed: (error) => [dataEvent(error.body())],
  });
}
