// From the wire's chat request to the engine's.

import type { ChatMessage, ChatRequest } from '../../../engine/types.js';
import { answerFormat } from '../../answer-format.js';
import { badField } from '../../api-error.js';
import type { ChatBody, WireMessage } from './schema.js';
import { callArguments, given, unsupportedPart } from '../../wire.js';

/** Throws a 400 that names the field, e.g. for parts that aren't text. */
export function chatRequest(body: ChatBody): ChatRequest {
  const limit = body.max_completion_tokens ?? body.max_tokens ?? -1;
  const stops = typeof body.stop === 'string' ? [body.stop] : (body.stop ?? []);
  return {
    messages: body.messages.map((message, i) => chatMessage(message, `messages[${i}]`)),
    // `none`: the model isn't told of tools, so it can't call one.
    tools: body.tool_choice === 'none' ? [] : chatTools(body),
    ...given('toolChoice', toolChoice(body)),
    ...given('format', format(body)),
    parallelToolCalls: body.parallel_tool_calls ?? true,
    thinking: thinking(body),
    ...templateVariables(body),
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
    ...(tool.strict === true ? { strict: true } : {}),
  }));
}

function toolChoice({ tool_choice: choice, tools }: ChatBody): ChatRequest['toolChoice'] {
  const offered = tools ?? [];
  if (choice === 'required') {
    if (offered.length > 0) return 'required';
    throw badField('tool_choice', 'tool_choice is required, and there are no tools');
  }
  if (typeof choice !== 'object' || choice === null) return undefined;
  const { name } = choice.function;
  if (offered.some((tool) => tool.function.name === name)) return { name };
  throw badField('tool_choice.function.name', `there is no tool "${name}"`);
}

function format({ response_format: asked }: ChatBody): ChatRequest['format'] {
  const wire = asked && { type: asked.type, schema: asked.json_schema?.schema };
  return answerFormat(wire, 'response_format', 'json_schema.schema');
}

/** Null leaves it to the model's template. */
function thinking(body: ChatBody): boolean | null {
  const asked = body.chat_template_kwargs?.enable_thinking ?? body.enable_thinking ?? null;
  if (typeof asked === 'boolean') return asked;
  const effort = body.reasoning_effort ?? null;
  return effort === null ? null : effort !== 'none';
}

function templateVariables(body: ChatBody): Pick<ChatRequest, 'templateVariables'> {
  const entries = Object.entries(body.chat_template_kwargs ?? {});
  const further = entries.filter(([name]) => name !== 'enable_thinking');
  return further.length === 0 ? {} : { templateVariables: Object.fromEntries(further) };
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
      throw unsupportedPart(part.type, `${path}.content[${i}]`);
    })
    .join('');
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
