import { randomUUID } from 'node:crypto';
import { readJson } from '../body.js';
import type { ServerContext } from '../context.js';
import { begin, streamed, whole } from '../generation.js';
import { messagesRequest } from '../messages/request.js';
import { parseCountBody, parseMessagesBody } from '../messages/schema.js';
import { MessagesWords } from '../messages/words.js';

export async function messages(context: ServerContext, http: Request): Promise<Response> {
  const body = parseMessagesBody(await readJson(http, context.bodyLimit));
  const request = messagesRequest(body);
  const id = `msg_${randomUUID().replaceAll('-', '')}`;
  const generation = begin(context, http, id, [request]);
  const { engine } = generation;
  const words = new MessagesWords(id, engine.model.id, engine.countTokens(request));
  if (body.stream === true) return streamed(context, generation, [request], words);
  await whole(context, generation, [request], words);
  return Response.json(words.body());
}

export async function countMessageTokens(context: ServerContext, http: Request): Promise<Response> {
  const body = parseCountBody(await readJson(http, context.bodyLimit));
  const engine = context.host.engine();
  return Response.json({ input_tokens: engine.countTokens(messagesRequest(body)) });
}
