// Text and ids, for whoever wants to see what the model reads: llama.cpp's three endpoints.

import { z } from 'zod';
import { badField } from '../api-error.js';
import { chatRequest } from '../openai/chat/request.js';
import { parseChatBody } from '../openai/chat/schema.js';
import { tellOnce, type ServerContext } from '../context.js';
import { parseWith } from '../wire.js';

const TokenizeBody = z.looseObject({
  content: z.string(),
  with_pieces: z.boolean().nullish(),
});
const DetokenizeBody = z.looseObject({ tokens: z.array(z.int().min(0)).max(2 ** 20) });

export async function tokenize(
  { host }: ServerContext,
  _: Request,
  body: unknown,
): Promise<Response> {
  const { content, with_pieces: pieces } = parseWith(TokenizeBody, body);
  const engine = host.engine();
  const ids = await engine.tokenize(content);
  const tokens = pieces === true ? ids.map((id) => ({ id, piece: engine.detokenize([id]) })) : ids;
  return Response.json({ tokens });
}

export function detokenize({ host }: ServerContext, _: Request, body: unknown): Response {
  const { tokens } = parseWith(DetokenizeBody, body);
  const engine = host.engine();
  try {
    return Response.json({ content: engine.detokenize(tokens) });
  } catch (error) {
    throw badField('tokens', (error as Error).message);
  }
}

/** The prompt of a chat request, as text, and how many tokens it has. */
export async function applyTemplate(
  context: ServerContext,
  _: Request,
  body: unknown,
): Promise<Response> {
  const chat = parseChatBody(body, (field) => tellOnce(context, field));
  const { text, ids } = await context.host.engine().render(chatRequest(chat));
  return Response.json({ prompt: text, n_tokens: ids.length });
}
