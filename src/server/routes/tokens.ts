// Text and ids, for whoever wants to see what the model reads: llama.cpp's three endpoints.

import * as z from 'zod';
import type { Engine } from '../../engine/types.js';
import { badField } from '../api-error.js';
import { chatRequest } from '../openai/chat/request.js';
import { parseChatBody } from '../openai/chat/schema.js';
import { tellOnce, type ServerContext } from '../context.js';
import { parseWith } from '../wire.js';

const TokenizeBody = z.looseObject({
  model: z.string().nullish(),
  content: z.string(),
  with_pieces: z.boolean().nullish(),
});
const DetokenizeBody = z.looseObject({
  model: z.string().nullish(),
  tokens: z.array(z.int().min(0)).max(2 ** 20),
});

export function tokenize(context: ServerContext, http: Request, body: unknown): Promise<Response> {
  const { model, content, with_pieces: pieces } = parseWith(TokenizeBody, body);
  return withEngine(context, http, model, async (engine) => {
    const ids = await engine.tokenize(content, http.signal);
    const tokens =
      pieces === true ? ids.map((id) => ({ id, piece: engine.detokenize([id]) })) : ids;
    return Response.json({ tokens });
  });
}

export function detokenize(
  context: ServerContext,
  http: Request,
  body: unknown,
): Promise<Response> {
  const { model, tokens } = parseWith(DetokenizeBody, body);
  return withEngine(context, http, model, (engine) => {
    try {
      return Response.json({ content: engine.detokenize(tokens) });
    } catch (error) {
      throw badField('tokens', (error as Error).message);
    }
  });
}

/** The prompt of a chat request, as text, and how many tokens it has. */
export function applyTemplate(
  context: ServerContext,
  http: Request,
  body: unknown,
): Promise<Response> {
  const chat = parseChatBody(body, (field) => tellOnce(context, field));
  return withEngine(context, http, chat.model, async (engine) => {
    const { text, ids } = await engine.render(chatRequest(chat), http.signal);
    return Response.json({ prompt: text, n_tokens: ids.length });
  });
}

async function withEngine(
  { host }: ServerContext,
  http: Request,
  model: string | null | undefined,
  use: (engine: Engine) => Response | Promise<Response>,
): Promise<Response> {
  const lease = await host.acquire(model ?? null, http.signal);
  try {
    return await use(lease.engine);
  } finally {
    lease.release();
  }
}
