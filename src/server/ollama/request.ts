// From Ollama's requests to the engine's.

import type { AnswerRequest, ChatMessage, ChatRequest } from '../../engine/types.js';
import { badField } from '../api-error.js';
import { samplingOf } from '../sampling.js';
import { thinkingOf } from '../thinking.js';
import { callArguments, given, placeholder } from '../wire.js';
import type { ChatBody, GenerateBody, WireMessage } from './schema.js';

export function chatRequest(body: ChatBody): ChatRequest {
  const messages = (body.messages ?? []).map((message, i) =>
    chatMessage(message, `messages[${i}]`),
  );
  const last = messages.at(-1);
  const goesOn = last?.role === 'assistant' && (last.toolCalls ?? []).length === 0;
  return {
    messages,
    tools: (body.tools ?? []).map(({ function: tool }) => ({
      name: tool.name,
      ...given('description', tool.description),
      ...given('parameters', tool.parameters),
    })),
    ...(goesOn ? { goOn: true } : {}),
    ...shared(body),
  };
}

export function generateRequest(body: GenerateBody): AnswerRequest {
  const prompt = body.prompt ?? '';
  if (body.raw === true) {
    if (formatOf(body) === undefined) return { prompt, ...limits(body) };
    throw badField('format', 'format cannot be enforced with a raw prompt');
  }
  const system = body.system ?? '';
  const images = (body.images ?? []).map(() => placeholder('image'));
  return {
    messages: [
      ...(system === '' ? [] : [{ role: 'system' as const, content: system }]),
      { role: 'user', content: [...images, prompt].join('\n') },
    ],
    tools: [],
    ...shared(body),
  };
}

/** Milliseconds that the model is to stay; null where the server decides. */
export function keepAliveOf({ keep_alive: asked }: Pick<ChatBody, 'keep_alive'>): number | null {
  if (asked === null || asked === undefined) return null;
  const ms = typeof asked === 'number' ? asked * 1000 : durationOf(asked);
  if (Number.isNaN(ms)) throw badField('keep_alive', `keep_alive: ${asked} is no time such as 5m`);
  return ms < 0 ? FOR_EVER : Math.min(ms, FOR_EVER);
}

const FOR_EVER = 2 ** 31 - 1;
const UNITS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

function durationOf(text: string): number {
  if (/^-?\d+$/.test(text)) return Number(text) * 1000;
  if (!/^-?(?:\d+(?:\.\d+)?(?:ms|s|m|h))+$/.test(text)) return NaN;
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)];
  const sum = parts.reduce(
    (ms, [, count, unit]) => ms + Number(count) * (UNITS[unit ?? ''] ?? 0),
    0,
  );
  return text.startsWith('-') ? -sum : sum;
}

function shared(body: ChatBody | GenerateBody): Omit<ChatRequest, 'messages' | 'tools'> {
  const { think } = body;
  const effort = typeof think === 'string' ? think : null;
  return {
    ...given('format', formatOf(body)),
    ...thinkingOf(typeof think === 'boolean' ? think : null, effort, null),
    ...limits(body),
  };
}

function limits({
  options,
}: ChatBody | GenerateBody): Pick<ChatRequest, 'maxTokens' | 'stop' | 'sampling'> {
  const { stop, num_predict: limit = null } = options ?? {};
  const stops = typeof stop === 'string' ? [stop] : (stop ?? []);
  return {
    maxTokens: limit === null || limit < 0 ? null : limit,
    stop: stops.filter((text) => text !== ''),
    sampling: samplingOf(options ?? {}),
  };
}

function formatOf({ format }: ChatBody | GenerateBody): ChatRequest['format'] {
  if (format === null || format === undefined || format === '') return undefined;
  return format === 'json' ? { type: 'json-object' } : { type: 'json-schema', schema: format };
}

function chatMessage(message: WireMessage, path: string): ChatMessage {
  const calls = (message.tool_calls ?? []).map((call, i) => ({
    id: call.id ?? `call_${i}`,
    name: call.function.name,
    arguments: callArguments(
      call.function.arguments ?? {},
      `${path}.tool_calls[${i}].function.arguments`,
    ),
  }));
  const images = (message.images ?? []).map(() => placeholder('image'));
  return {
    role: message.role,
    content: [...images, message.content ?? ''].join('\n'),
    ...given('reasoning', message.thinking),
    ...(calls.length === 0 ? {} : { toolCalls: calls }),
    ...given('toolCallId', message.tool_call_id),
    ...given('name', message.tool_name),
  };
}
