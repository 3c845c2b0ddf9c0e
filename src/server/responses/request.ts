// From the Responses API to the engine's request.

import type { ChatMessage, ChatRequest } from '../../engine/types.js';
import { badField } from '../api-error.js';
import { answerFormat } from '../answer-format.js';
import { callArguments, given, unsupportedPart } from '../wire.js';
import type { ResponsesBody, WireItem, WirePart } from './schema.js';

/**
 * @param before the conversation that `previous_response_id` names
 * @param onIgnored told of kinds of tools that only their maker's own service has
 */
export function responsesRequest(
  body: ResponsesBody,
  before: readonly ChatMessage[],
  onIgnored: (what: string) => void,
): ChatRequest {
  const messages = [...before, ...inputMessages(body)];
  const effort = body.reasoning?.effort ?? null;
  const { tool_choice: choice } = body;
  return {
    messages:
      (body.instructions ?? '') === ''
        ? messages
        : [{ role: 'system', content: body.instructions ?? '' }, ...messages],
    tools: choice === 'none' ? [] : tools(body, onIgnored),
    ...given('toolChoice', toolChoice(body)),
    ...given('format', answerFormat(body.text?.format, 'text.format')),
    parallelToolCalls: body.parallel_tool_calls ?? true,
    thinking: effort === null ? null : effort !== 'none',
    maxTokens: body.max_output_tokens ?? null,
    stop: [],
    sampling: { ...given('temperature', body.temperature), ...given('topP', body.top_p) },
  };
}

/** The input as messages; neighbours of one assistant's turn become one message. */
export function inputMessages({ input }: ResponsesBody): ChatMessage[] {
  if (typeof input === 'string') return [{ role: 'user', content: input }];
  const messages: ChatMessage[] = [];
  for (const [i, item] of input.entries()) {
    const message = itemMessage(item, `input[${i}]`);
    const last = messages.at(-1);
    if (message.role === 'assistant' && last?.role === 'assistant') joinTurn(last, message);
    else messages.push(message);
  }
  return messages;
}

function joinTurn(turn: ChatMessage, next: ChatMessage): void {
  turn.content += next.content;
  if (next.reasoning !== undefined) turn.reasoning = (turn.reasoning ?? '') + next.reasoning;
  if (next.toolCalls !== undefined) turn.toolCalls = [...(turn.toolCalls ?? []), ...next.toolCalls];
}

function itemMessage(item: WireItem, path: string): ChatMessage {
  switch (item.type ?? 'message') {
    case 'message':
      if (item.role === null || item.role === undefined)
        throw badField(`${path}.role`, `${path}.role: is missing`);
      return {
        role: item.role === 'developer' ? 'system' : item.role,
        content: partsText(item.content ?? '', `${path}.content`),
      };
    case 'reasoning': {
      const told = item.content ?? item.summary ?? [];
      const text = typeof told === 'string' ? told : told.map((part) => part.text ?? '').join('\n');
      return { role: 'assistant', content: '', ...(text === '' ? {} : { reasoning: text }) };
    }
    case 'function_call': {
      const name = item.name ?? '';
      if (name === '') throw badField(`${path}.name`, `${path}.name: is missing`);
      const given = callArguments(item.arguments ?? '', `${path}.arguments`);
      const call = { id: item.call_id ?? path, name, arguments: given };
      return { role: 'assistant', content: '', toolCalls: [call] };
    }
    case 'function_call_output':
      return {
        role: 'tool',
        content: partsText(item.output ?? '', `${path}.output`),
        ...given('toolCallId', item.call_id),
      };
    default:
      throw badField(`${path}.type`, `items of the type ${item.type ?? ''} are not supported`);
  }
}

function partsText(content: string | WirePart[], path: string): string {
  if (typeof content === 'string') return content;
  return content
    .map((part, i) => {
      const text = /text$/.test(part.type) ? part.text : part.refusal;
      if (typeof text === 'string') return text;
      throw unsupportedPart(part.type, `${path}[${i}]`);
    })
    .join('');
}

function tools(body: ResponsesBody, onIgnored: (what: string) => void): ChatRequest['tools'] {
  return (body.tools ?? []).flatMap((tool, i) => {
    if (tool.type !== 'function') {
      onIgnored(`tools.${tool.type}`);
      return [];
    }
    const name = tool.name ?? '';
    if (name === '') throw badField(`tools[${i}].name`, `tools[${i}].name: is missing`);
    return {
      name,
      ...given('description', tool.description),
      ...given('parameters', tool.parameters),
      ...(tool.strict === true ? { strict: true } : {}),
    };
  });
}

function toolChoice({ tool_choice: choice, tools }: ResponsesBody): ChatRequest['toolChoice'] {
  if (choice === 'required') return 'required';
  if (typeof choice !== 'object' || choice === null) return undefined;
  const { name } = choice;
  if (tools?.some((tool) => tool.name === name) === true) return { name };
  throw badField('tool_choice.name', `there is no tool "${name}"`);
}
