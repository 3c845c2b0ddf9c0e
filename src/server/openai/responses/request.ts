// From the Responses API to the engine's request.

import type { ChatMessage, ChatRequest } from '../../../engine/types.js';
import { badField } from '../../api-error.js';
import { answerFormat } from '../../answer-format.js';
import { callArguments, given, leftOut, unsupportedPart } from '../../wire.js';
import { samplingOf } from '../../sampling.js';
import { thinkingOf } from '../../thinking.js';
import type { ResponsesBody, WireItem, WirePart } from './schema.js';
import { modelName, toolChoice, type OfferedTool } from './tools.js';

/** @param before the conversation that `previous_response_id` names */
export function responsesRequest(
  body: ResponsesBody,
  before: readonly ChatMessage[],
  tools: readonly OfferedTool[],
): ChatRequest {
  const messages = [...before, ...inputMessages(body)];
  return {
    messages:
      (body.instructions ?? '') === ''
        ? messages
        : [{ role: 'system', content: body.instructions ?? '' }, ...messages],
    tools: body.tool_choice === 'none' ? [] : tools.map(({ definition }) => definition),
    ...given('toolChoice', toolChoice(body, tools)),
    ...given('format', answerFormat(body.text?.format, 'text.format')),
    parallelToolCalls: body.parallel_tool_calls ?? true,
    ...thinkingOf(null, body.reasoning?.effort, null),
    maxTokens: body.max_output_tokens ?? null,
    stop: [],
    sampling: samplingOf(body),
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
      const call = {
        id: item.call_id ?? path,
        name: modelName(name, item.namespace),
        arguments: given,
      };
      return { role: 'assistant', content: '', toolCalls: [call] };
    }
    case 'custom_tool_call': {
      const { name, input } = item;
      if ((name ?? '') === '') throw badField(`${path}.name`, `${path}.name: is missing`);
      const call = {
        id: item.call_id ?? path,
        name: modelName(name ?? '', item.namespace),
        arguments: { input: input ?? '' },
      };
      return { role: 'assistant', content: '', toolCalls: [call] };
    }
    case 'custom_tool_call_output':
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
      const instead = leftOut(part.type);
      if (instead !== null) return instead;
      throw unsupportedPart(part.type, `${path}[${i}]`);
    })
    .join('');
}
