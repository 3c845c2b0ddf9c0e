// From the wire's chat request to the engine's.

import type { ChatMessage, ChatRequest, ToolCall } from '../engine/types.js';
import { badField } from './api-error.js';
import type { ChatBody, WireMessage } from './chat-schema.js';

/** Throws a 400 that names the field, e.g. for parts that aren't text. */
export function chatRequest(body: ChatBody): ChatRequest {
  const limit = body.max_completion_tokens ?? body.max_tokens ?? -1;
  const stops = typeof body.stop === 'string' ? [body.stop] : (body.stop ?? []);
  return {
    messages: body.messages.map((message, i) => chatMessage(message, `messages[${i}]`)),
    // `none`: the model isn't told of tools, so it can't call one.
    tools: body.tool_choice === 'none' ? [] : chatTools(body),
    parallelToolCalls: body.parallel_tool_calls ?? true,
    thinking: thinking(body),
    maxTokens: limit < 0 ? null : limit,
    stop: stops.filter((stop) => stop !== ''),
    sampling: {
      ...given('temperature', body.temperature),
      ...given('topP', body.top_p),
      // -1 is how some clients say off; here it is 0.
      ...given('topK', body.top_k === -1 ? 0 : body.top_k),
      ...given('minP', body.min_p),
      ...given('seed', body.seed),
      ...given('presencePenalty', body.presence_penalty),
      ...given('frequencyPenalty', body.frequency_penalty),
      ...given('logitBias', body.logit_bias),
    },
    ...(body.logprobs === true ? { topLogprobs: body.top_logprobs ?? 0 } : {}),
  };
}

function chatTools(body: ChatBody): ChatRequest['tools'] {
  return (body.tools ?? []).map(({ function: tool }) => ({
    name: tool.name,
    ...given('description', tool.description),
    ...given('parameters', tool.parameters),
  }));
}

/** Null leaves it to the model's template. */
function thinking(body: ChatBody): boolean | null {
  const asked = body.chat_template_kwargs?.enable_thinking ?? body.enable_thinking ?? null;
  if (asked !== null) return asked;
  const effort = body.reasoning_effort ?? null;
  return effort === null ? null : effort !== 'none';
}

function chatMessage(message: WireMessage, path: string): ChatMessage {
  const calls = (message.tool_calls ?? []).map((call, i) => ({
    id: call.id ?? `call_${i}`,
    name: call.function.name,
    arguments: callArguments(
      call.function.arguments,
      `${path}.tool_calls[${i}].function.arguments`,
    ),
  }));
  const reasoning = message.reasoning_content ?? message.reasoning ?? null;
  return {
    role: message.role === 'developer' ? 'system' : message.role,
    content: contentText(message, path, calls.length > 0 || reasoning !== null),
    ...given('reasoning', reasoning),
    ...(calls.length === 0 ? {} : { toolCalls: calls }),
    ...given('toolCallId', message.tool_call_id),
    ...given('name', message.name),
  };
}

function contentText({ role, content }: WireMessage, path: string, mayLack: boolean): string {
  if (content === null || content === undefined) {
    if (role === 'assistant' && mayLack) return '';
    throw badField(`${path}.content`, `${path}.content: a ${role} message needs content`);
  }
  if (typeof content === 'string') return content;
  return content
    .map((part, i) => {
      if (part.type === 'text' && typeof part.text === 'string') return part.text;
      if (part.type === 'refusal' && typeof part.refusal === 'string') return part.refusal;
      const kind = /image/.test(part.type)
        ? 'image'
        : /audio/.test(part.type)
          ? 'audio'
          : part.type;
      throw badField(`${path}.content[${i}]`, `${kind} input is not supported`);
    })
    .join('');
}

/** Templates need the mapping, clients send the text the model once wrote. */
function callArguments(
  value: string | Record<string, unknown>,
  path: string,
): ToolCall['arguments'] {
  if (typeof value !== 'string') return value;
  if (value.trim() === '') return {};
  let parsed: unknown;
  try {
    parsed = JSON.parse(value);
  } catch {
    throw badField(path, `${path}: is not JSON`);
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw badField(path, `${path}: must be a JSON object`);
  }
  return parsed as ToolCall['arguments'];
}

/**
 * The requests for `n` answers to one prompt: with a seed, each has its own, and the prompt's state is
 * kept for the next.
 */
export function choiceRequests(request: ChatRequest, n: number): ChatRequest[] {
  const { seed } = request.sampling;
  return Array.from({ length: n }, (_, i) => ({
    ...request,
    ...(i < n - 1 ? { again: true } : {}),
    sampling: { ...request.sampling, ...(typeof seed === 'number' ? { seed: seed + i } : {}) },
  }));
}

/** A member where there is a value, none where there is null or nothing. */
function given<K extends string, V>(
  key: K,
  value: V | null | undefined,
): Partial<Record<K, NonNullable<V>>> {
  return value === null || value === undefined
    ? {}
    : ({ [key]: value } as Record<K, NonNullable<V>>);
}
