import { randomUUID } from 'node:crypto';
import { tellOnce, type ServerContext } from '../context.js';
import { begin, streamed, whole } from '../generation.js';
import { messagesRequest } from './request.js';
import { parseCountBody, parseMessagesBody } from './schema.js';
import { MessagesEncoder } from './encoder.js';

export async function messages(
  context: ServerContext,
  http: Request,
  json: unknown,
): Promise<Response> {
  const body = parseMessagesBody(json, (field) => tellOnce(context, field));
  const request = messagesRequest(body);
  const id = `msg_${randomUUID().replaceAll('-', '')}`;
  const generation = await begin(context, http, id, [request]);
  const { engine } = generation;
  const encoder = new MessagesEncoder(id, engine.model.id, await engine.countTokens(request));
  if (body.stream === true) return streamed(context, generation, [request], encoder);
  await whole(context, generation, [request], encoder);
  return Response.json(encoder.body());
}

export async function countMessageTokens(
  context: ServerContext,
  _: Request,
  json: unknown,
): Promise<Response> {
  const body = parseCountBody(json);
  const engine = context.host.engine();
  return Response.json({ input_tokens: await engine.countTokens(messagesRequest(body)) });
}
