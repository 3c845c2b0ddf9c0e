// Turns our messages into what chat templates expect: system messages where they take them; reasoning apart from
// the answer; tool calls in the nested form of the field's templates.

import { callForm } from './calls/form.js';
import { withSingleCalls } from './harmony-history.js';
import { withNumberedIds } from './numbered-ids.js';
import { pythonJson } from './python-json.js';
import { placeSystemMessages } from './system-messages.js';
import type { ChatMessage, ToolCall, ToolDefinition } from './types.js';

interface TemplateMessage {
  role: ChatMessage['role'];
  content: string | null;
  reasoning_content?: string;
  thinking?: string;
  tool_calls?: unknown[];
  tool_call_id?: string;
  name?: string;
}

/** Templates that take call arguments apart need a mapping; the others paste them as text. */
const READS_MAPPING =
  /arguments\s*\|\s*(?:items|tojson|dictsort)|arguments\.items\(|arguments is (?:not )?(?:string|mapping)/;

/** These print an assistant's turn for content that is empty, and none for content that is null. */
const TELLS_NULL = /is (?:not )?none/;

/** @param takesLate see placeSystemMessages */
export function templateMessages(
  given: readonly ChatMessage[],
  template: string,
  takesLate: boolean,
): TemplateMessage[] {
  const placed = placeSystemMessages(given, takesLate);
  const form = callForm(template)?.name;
  const isHarmony = form === 'harmony';
  const messages =
    form === 'numbered-json'
      ? withNumberedIds(placed)
      : isHarmony
        ? withSingleCalls(placed)
        : placed;
  const asMapping = READS_MAPPING.test(template);
  const nullContent = TELLS_NULL.test(template) ? null : '';
  return messages.map((message) => ({
    role: message.role,
    ...splitReasoning(message, template),
    ...(message.toolCalls === undefined || message.toolCalls.length === 0
      ? {}
      : {
          tool_calls: message.toolCalls.map((call) => templateCall(call, asMapping)),
          ...(message.content === '' ? { content: nullContent } : {}),
        }),
    ...(isHarmony ? harmonyThought(message) : {}),
    ...(message.toolCallId === undefined ? {} : { tool_call_id: message.toolCallId }),
    ...(message.name === undefined ? {} : { name: message.name }),
  }));
}

/** Beside a call these templates take either text or a thought: both become the thought. */
function harmonyThought({
  content,
  reasoning,
  toolCalls = [],
}: ChatMessage): Partial<TemplateMessage> {
  if (reasoning === undefined || reasoning === '') return {};
  if (toolCalls.length === 0 || content === '') return { thinking: reasoning };
  return { thinking: `${reasoning}\n\n${content}`, content: '' };
}

export function templateTools(tools: readonly ToolDefinition[]): unknown[] {
  return tools.map((tool) => ({
    type: 'function',
    function: {
      name: tool.name,
      ...(tool.description === undefined ? {} : { description: tool.description }),
      ...(tool.parameters === undefined ? {} : { parameters: tool.parameters }),
    },
  }));
}

/** Clients that don't know a reasoning field send an assistant's thinking inside the content. */
function splitReasoning(
  message: ChatMessage,
  template: string,
): { content: string; reasoning_content?: string } {
  if (message.reasoning !== undefined) {
    return { content: message.content, reasoning_content: message.reasoning };
  }
  const end = message.content.lastIndexOf('</think>');
  if (message.role !== 'assistant' || end < 0 || !template.includes('</think>')) {
    return { content: message.content };
  }
  const before = message.content.slice(0, end);
  return {
    content: message.content.slice(end + '</think>'.length).trimStart(),
    reasoning_content: before
      .slice(before.indexOf('<think>') < 0 ? 0 : before.indexOf('<think>') + 7)
      .trim(),
  };
}

function templateCall(call: ToolCall, asMapping: boolean): unknown {
  return {
    id: call.id,
    type: 'function',
    function: {
      name: call.name,
      arguments: asMapping ? call.arguments : pythonJson(call.arguments),
    },
  };
}
