import { randomUUID } from 'node:crypto';
import type { GenerateEvent } from '../../../engine/types.js';
import { tellOnce, type ServerContext } from '../../context.js';
import { begin, streamed, whole, type StreamEncoder } from '../../generation.js';
import { inputMessages, responsesRequest } from './request.js';
import { parseResponsesBody, type ResponsesBody } from './schema.js';
import { offeredTools } from './tools.js';
import { ResponsesEncoder } from './encoder.js';

export async function responses(
  context: ServerContext,
  http: Request,
  json: unknown,
): Promise<Response> {
  const tell = (field: string): void => tellOnce(context, field);
  const body = parseResponsesBody(json, tell);
  const previous = body.previous_response_id ?? null;
  const before = previous === null ? [] : context.responses.get(previous);
  const tools = offeredTools(body, tell);
  const request = responsesRequest(body, before, tools);
  const id = newId('resp');
  const generation = await begin(context, http, id, [request]);
  const created = Math.floor(context.now() / 1000);
  const frame = { id, ...responseFrame(body, generation.engine.model.id, created) };
  const encoder = new ResponsesEncoder(frame, newId, tools);
  const keep = (): void => {
    if (body.store === false) return;
    context.responses.put(id, [...before, ...inputMessages(body), encoder.turn()]);
  };
  if (body.stream === true) return streamed(context, generation, [request], keeping(encoder, keep));
  await whole(context, generation, [request], encoder);
  keep();
  return Response.json(encoder.body());
}

/** Keeps the conversation before the last event is sent, so that the client can go on at once. */
function keeping(encoder: ResponsesEncoder, keep: () => void): StreamEncoder {
  return {
    begin: () => encoder.begin(),
    event: (choice: number, event: GenerateEvent) => encoder.event(choice, event),
    end: () => {
      keep();
      return encoder.end();
    },
    failed: (error) => encoder.failed(error),
  };
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
