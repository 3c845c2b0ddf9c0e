// From the Messages API to the engine's request.

import type { ChatMessage, ChatRequest } from '../../engine/types.js';
import { answerFormat } from '../answer-format.js';
import { badField } from '../api-error.js';
import { samplingOf } from '../sampling.js';
import { thinkingOf } from '../thinking.js';
import { given, leftOut, unsupportedPart } from '../wire.js';
import { parseBlocks, type CountBody, type MessagesBody, type WireBlock } from './schema.js';

export function messagesRequest(body: CountBody | MessagesBody): ChatRequest {
  const system = systemText(body.system ?? '');
  const messages = body.messages.flatMap((message, i) => {
    const path = `messages[${i}].content`;
    if (message.role === 'user') return userMessages(message.content, path);
    if (message.role === 'assistant') return [assistantMessage(message.content, path)];
    return [{ role: 'system' as const, content: textOf(message.content, path) }];
  });
  const full = 'max_tokens' in body ? (body as MessagesBody) : null;
  return {
    messages: system === '' ? messages : [{ role: 'system', content: system }, ...messages],
    tools: body.tool_choice?.type === 'none' ? [] : tools(body),
    ...given('toolChoice', toolChoice(body)),
    ...given('format', format(body)),
    parallelToolCalls: body.tool_choice?.disable_parallel_tool_use !== true,
    // Without the field there is no thinking in this API.
    ...thinkingOf(
      (body.thinking?.type ?? 'disabled') !== 'disabled',
      body.output_config?.effort,
      body.thinking?.budget_tokens,
    ),
    maxTokens: full?.max_tokens ?? null,
    stop: (full?.stop_sequences ?? []).filter((stop) => stop !== ''),
    ...(goesOn(body) ? { goOn: true } : {}),
    sampling: samplingOf(full ?? {}),
  };
}

function tools(body: CountBody): ChatRequest['tools'] {
  return (body.tools ?? []).filter(isClientTool).map((tool) => ({
    name: tool.name,
    ...given('description', tool.description),
    ...given('parameters', tool.input_schema),
    ...(tool.strict === true ? { strict: true } : {}),
  }));
}

/** A last message of the assistant is the beginning of the answer. */
function goesOn({ messages }: CountBody): boolean {
  const last = messages.at(-1);
  if (last?.role !== 'assistant') return false;
  const blocks = typeof last.content === 'string' ? [] : last.content;
  if (!blocks.some(({ type }) => type === 'tool_use')) return true;
  const path = `messages[${messages.length - 1}].content`;
  throw badField(path, `${path}: tool_use needs its tool_result before the conversation goes on`);
}

/** Tools of other types run on their maker's servers, which this is none of: the model isn't told of them. */
function isClientTool({ type }: { type?: string | null | undefined }): boolean {
  return (type ?? 'custom') === 'custom';
}

/** Types of the tools that are left out, for the log. */
export function serverTools(body: CountBody): string[] {
  return (body.tools ?? [])
    .filter((tool) => !isClientTool(tool))
    .map(({ type }) => `tools.${type}`);
}

function toolChoice({ tool_choice: choice, tools: offered }: CountBody): ChatRequest['toolChoice'] {
  if (choice?.type === 'any') return 'required';
  if (choice?.type !== 'tool') return undefined;
  const name = choice.name ?? '';
  if (offered?.some((tool) => tool.name === name) === true) return { name };
  throw badField('tool_choice.name', `there is no tool "${name}"`);
}

/** Results of tools are messages of their own, before what the user says beside them. */
function userMessages(content: string | WireBlock[], path: string): ChatMessage[] {
  if (typeof content === 'string') return [{ role: 'user', content }];
  const results = content.flatMap((block, i): ChatMessage[] =>
    block.type === 'tool_result'
      ? [
          {
            role: 'tool',
            content: resultText(block, `${path}[${i}].content`),
            ...given('toolCallId', block.tool_use_id),
          },
        ]
      : [],
  );
  const rest = content.filter((block) => block.type !== 'tool_result');
  if (rest.length === 0 && results.length > 0) return results;
  return [...results, { role: 'user', content: textOf(rest, path) }];
}

function assistantMessage(content: string | WireBlock[], path: string): ChatMessage {
  if (typeof content === 'string') return { role: 'assistant', content };
  const of = (type: string): WireBlock[] => content.filter((block) => block.type === type);
  const said = content.filter(({ type }) => !HISTORY.has(type));
  const reasoning = of('thinking')
    .map((block) => block.thinking ?? '')
    .join('');
  const calls = of('tool_use').map((block, i) => {
    if ((block.name ?? '') === '') throw badField(`${path}[${i}].name`, 'a tool_use needs a name');
    return { id: block.id ?? `call_${i}`, name: block.name ?? '', arguments: block.input ?? {} };
  });
  return {
    role: 'assistant',
    content: textOf(said, path),
    ...(reasoning === '' ? {} : { reasoning }),
    ...(calls.length === 0 ? {} : { toolCalls: calls }),
  };
}

const HISTORY = new Set(['thinking', 'redacted_thinking', 'tool_use']);

function resultText(block: WireBlock, path: string): string {
  const content = block.content ?? '';
  const blocks = typeof content === 'string' ? null : parseBlocks(content);
  if (blocks === null && typeof content !== 'string') {
    throw badField(path, `${path}: must be a string or an array of content blocks`);
  }
  const text = typeof content === 'string' ? content : textOf(blocks ?? [], path);
  return block.is_error === true ? `Error: ${text}` : text;
}

function textOf(content: string | WireBlock[], path: string): string {
  if (typeof content === 'string') return content;
  const texts = content.map((block, i) => {
    if (block.type === 'text' && typeof block.text === 'string') return block.text;
    const instead = documentText(block) ?? leftOut(block.type);
    if (instead !== null) return instead;
    throw unsupportedPart(block.type, `${path}[${i}]`);
  });
  return texts.join('\n\n');
}

/** Of a document that is plain text. */
function documentText({ type, source }: WireBlock): string | null {
  const { type: kind, data } = source ?? {};
  return type === 'document' && kind === 'text' && typeof data === 'string' ? data : null;
}

/** A client's accounting line, different in every request, would make every prompt a new one. */
const BILLING = /^x-anthropic-billing-header:[^\n]*\n*/;

function systemText(system: string | WireBlock[]): string {
  if (typeof system === 'string') return system.replace(BILLING, '');
  const blocks = system.map((block) =>
    typeof block.text === 'string' ? { ...block, text: block.text.replace(BILLING, '') } : block,
  );
  return textOf(
    blocks.filter(({ text }) => text !== ''),
    'system',
  );
}

function format({ output_config: config, output_format: older }: CountBody): ChatRequest['format'] {
  const newer = config?.format ?? null;
  return newer === null
    ? answerFormat(older, 'output_format')
    : answerFormat(newer, 'output_config.format');
}
