import { randomUUID } from 'node:crypto';
import type { GenerateEvent } from '../../../engine/types.js';
import { badField } from '../../api-error.js';
import { tellOnce, type ServerContext } from '../../context.js';
import { respond, type StreamEncoder } from '../../generation.js';
import { inputMessages, responsesRequest } from './request.js';
import { parseResponsesBody, type ResponsesBody, type WireItem } from './schema.js';
import type { ResponseStore } from './store.js';
import { offeredTools } from './tools.js';
import { ResponsesEncoder } from './encoder.js';

export async function responses(
  context: ServerContext,
  http: Request,
  json: unknown,
): Promise<Response> {
  const tell = (field: string): void => tellOnce(context, field);
  const body = withItems(parseResponsesBody(json, tell), context.responses);
  const previous = body.previous_response_id ?? null;
  const before = previous === null ? [] : context.responses.get(previous);
  const tools = offeredTools(body, tell);
  const request = responsesRequest(body, before, tools);
  const id = newId('resp');
  const created = Math.floor(context.now() / 1000);
  return await respond(context, http, {
    id,
    model: body.model ?? null,
    requests: [request],
    stream: body.stream === true,
    encoder: ({ engine }) => {
      const frame = { id, ...responseFrame(body, engine.model.id, created) };
      const encoder = new ResponsesEncoder(frame, newId, tools);
      return keeping(encoder, () => {
        if (body.store === false) return;
        const messages = [...before, ...inputMessages(body), encoder.turn()];
        context.responses.put(id, messages, encoder.body());
      });
    },
    failed: (error) => {
      const frame = { id, ...responseFrame(body, body.model ?? '', created) };
      const encoder = new ResponsesEncoder(frame, newId, tools);
      return [...encoder.begin(), ...encoder.failed(error)];
    },
  });
}

/** Keeps the conversation before the last event is sent, so that the client can go on at once. */
function keeping(encoder: ResponsesEncoder, keep: () => void): StreamEncoder {
  return {
    begin: () => encoder.begin(),
    event: (choice: number, event: GenerateEvent) => encoder.event(choice, event),
    end: () => {
      const last = encoder.end();
      keep();
      return last;
    },
    failed: (error) => encoder.failed(error),
    body: () => encoder.body(),
  };
}

/** Puts what was said before in the places of references to it. */
function withItems(body: ResponsesBody, store: ResponseStore): ResponsesBody {
  if (typeof body.input === 'string') return body;
  const input = body.input.map((item, i) => {
    if (item.type !== 'item_reference') return item;
    const found = store.item(item.id ?? '');
    if (found !== null) return found as WireItem;
    throw badField(
      `input[${i}].id`,
      `input[${i}].id: there is no item ${item.id ?? ''} here (any more)`,
    );
  });
  return { ...body, input };
}

/** A response that was stored, as it was given. */
export function getResponse({ responses: store }: ServerContext, _: Request, id: string): Response {
  return Response.json(store.response(id));
}

function newId(prefix: string): string {
  return `${prefix}_${randomUUID().replaceAll('-', '')}`;
}

/** Every documented key, nulls included: strict clients miss what isn't there. */
function responseFrame(body: ResponsesBody, model: string, created: number): object {
  return {
    object: 'response',
    created_at: created,
    background: false,
    instructions: body.instructions ?? null,
    max_output_tokens: body.max_output_tokens ?? null,
    max_tool_calls: null,
    metadata: body.metadata ?? {},
    model,
    parallel_tool_calls: body.parallel_tool_calls ?? true,
    previous_response_id: body.previous_response_id ?? null,
    prompt_cache_key: null,
    reasoning: { effort: body.reasoning?.effort ?? null, summary: null },
    safety_identifier: null,
    service_tier: 'default',
    store: body.store ?? true,
    temperature: body.temperature ?? null,
    text: { format: body.text?.format ?? { type: 'text' } },
    tool_choice: body.tool_choice ?? 'auto',
    tools: body.tools ?? [],
    top_logprobs: 0,
    top_p: body.top_p ?? null,
    truncation: 'disabled',
    user: null,
  };
}
