import { randomUUID } from 'node:crypto';
import type { ChatRequest, Engine, GenerateEvent } from '../../engine/types.js';
import { ApiError, toApiError } from '../api-error.js';
import { readJson } from '../body.js';
import { chatRequest } from '../chat-request.js';
import {
  Completion,
  eventChunks,
  firstChunk,
  usageChunk,
  type Identity,
} from '../chat-response.js';
import { parseChatBody } from '../chat-schema.js';
import type { ServerContext } from '../context.js';
import { DONE, dataEvent, eventStream } from '../sse.js';
import type { Turn } from '../queue.js';

interface Generation {
  engine: Engine;
  request: ChatRequest;
  turn: Turn;
  signal: AbortSignal;
  identity: Identity;
  /** Place in the queue, then tokens read: for the comments that keep a stream alive. */
  progress: string;
}

/** Everything that can be refused is refused before the first byte of an event stream. */
export async function chatCompletions(context: ServerContext, http: Request): Promise<Response> {
  const body = parseChatBody(await readJson(http, context.bodyLimit), (field) =>
    tellOnce(context, field),
  );
  const request = chatRequest(body);
  const engine = context.host.engine();
  engine.countTokens(request);
  const signal = AbortSignal.any([http.signal, context.shutdown]);
  const turn = context.queue.enter(signal);
  const generation: Generation = {
    engine,
    request,
    turn,
    signal,
    identity: {
      id: `chatcmpl-${randomUUID().replaceAll('-', '')}`,
      created: Math.floor(context.now() / 1000),
      model: engine.model.id,
      system_fingerprint: `flashmoe-${context.version}`,
    },
    progress: `waiting behind ${turn.ahead}`,
  };
  if (body.stream !== true) return await wholeAnswer(context, generation);
  const withUsage = body.stream_options?.include_usage !== false;
  return eventStream(streamedAnswer(context, generation, withUsage), {
    everyMs: context.keepAliveMs,
    comment: () => `keep-alive, ${generation.progress}`,
  });
}

/** Names of fields come from outside, so there is an end to remembering them. */
const MAX_TOLD = 256;

function tellOnce({ toldFields, emit }: ServerContext, field: string): void {
  if (toldFields.has(field) || toldFields.size >= MAX_TOLD) return;
  toldFields.add(field);
  emit({ type: 'unknown-field', field: field.slice(0, 64) });
}

async function wholeAnswer(context: ServerContext, generation: Generation): Promise<Response> {
  const completion = new Completion();
  for await (const event of generate(context, generation)) {
    completion.add(event);
    if (event.type === 'finish') {
      return Response.json(completion.body(generation.identity, event));
    }
  }
  throw new ApiError(500, 'the engine ended without a reason', { code: 'ERR_INTERNAL' });
}

async function* streamedAnswer(
  context: ServerContext,
  generation: Generation,
  withUsage: boolean,
): AsyncGenerator<string, void, undefined> {
  const { identity } = generation;
  try {
    yield dataEvent(firstChunk(identity));
    for await (const event of generate(context, generation)) {
      for (const chunk of eventChunks(identity, event)) yield dataEvent(chunk);
      if (event.type !== 'finish') continue;
      if (withUsage) yield dataEvent(usageChunk(identity, event));
      yield DONE;
    }
  } catch (thrown) {
    // The status line is gone; the error is the last event, and no [DONE] follows it.
    const error = toApiError(thrown);
    if (error.status === 500) {
      context.emit({ type: 'error', code: error.details.code ?? '', message: error.message });
    }
    yield dataEvent(error.body());
  } finally {
    // Also when the client left before the generation began.
    generation.turn.end();
  }
}

async function* generate(
  context: ServerContext,
  generation: Generation,
): AsyncGenerator<GenerateEvent, void, undefined> {
  const { engine, request, turn, signal } = generation;
  try {
    await turn.begun;
    for await (const event of engine.chat(request, signal)) {
      if (event.type === 'prefill') {
        generation.progress = `${event.done} of ${event.total} prompt tokens read`;
      }
      if (event.type === 'finish') {
        const { usage, timings, reason } = event;
        context.emit({
          type: 'generation',
          id: generation.identity.id,
          outcome: reason,
          usage,
          timings,
        });
      }
      yield event;
    }
  } finally {
    turn.end();
  }
}
