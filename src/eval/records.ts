// Conversations and evaluation prompts as data: one JSON object a line, prompts one file a skill. This folder knows
// questions and what counts as right; it sees an engine only through engine/types.ts.

import * as z from 'zod';
import { FlashmoeError } from '../base/errors.js';
import type { ChatMessage, ToolDefinition } from '../engine/types.js';

const functionCall = z.object({ name: z.string(), arguments: z.record(z.string(), z.unknown()) });

const message = z.object({
  role: z.enum(['system', 'user', 'assistant', 'tool']),
  content: z.string(),
  reasoning_content: z.string().optional(),
  tool_calls: z.array(z.object({ function: functionCall })).optional(),
});

const tool = z.object({
  function: z.object({
    name: z.string(),
    description: z.string().optional(),
    parameters: z.record(z.string(), z.unknown()),
  }),
});

const objectSchema = z.object({
  properties: z.record(z.string(), z.object({ type: z.string() })),
  required: z.array(z.string()),
});

const expectation = z.union([
  z.object({ text: z.string() }),
  z.object({ calls: z.array(functionCall) }),
  z.object({ object: z.record(z.string(), z.unknown()), schema: objectSchema }),
]);

const conversation = z.object({
  messages: z.array(message).min(1),
  tools: z.array(tool).optional(),
});

const record = conversation.extend({ id: z.string(), expect: expectation });

/** Exact text, calls in order, or one JSON object that fits a schema and equals this one. */
export type Expectation = z.infer<typeof expectation>;
export type ObjectSchema = z.infer<typeof objectSchema>;

export interface Conversation {
  messages: ChatMessage[];
  tools: ToolDefinition[];
}

export interface EvalRecord extends Conversation {
  id: string;
  expect: Expectation;
}

/** Lines of one file. Throws ERR_USAGE naming file and line. */
export function parseRecords(file: string, text: string): EvalRecord[] {
  return parseLines(file, text, record).map(({ id, expect, ...rest }) => ({
    ...{ id, expect },
    ...conversationOf(rest),
  }));
}

/** As parseRecords, of conversations without what is expected; other fields are passed over. */
export function parseConversations(file: string, text: string): Conversation[] {
  return parseLines(file, text, conversation).map(conversationOf);
}

function parseLines<T>(file: string, text: string, schema: z.ZodType<T>): T[] {
  return text
    .split('\n')
    .map((line, index) => ({ line, number: index + 1 }))
    .filter(({ line }) => line.trim() !== '')
    .map(({ line, number }) => parseLine(`${file}:${number}`, line, schema));
}

function parseLine<T>(place: string, line: string, schema: z.ZodType<T>): T {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw new FlashmoeError('ERR_USAGE', `${place}: not JSON`, { cause });
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw new FlashmoeError(
      'ERR_USAGE',
      `${place}: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`,
    );
  }
  return parsed.data;
}

function conversationOf({ messages, tools }: z.infer<typeof conversation>): Conversation {
  return {
    messages: messages.map((each, index) => chatMessage(each, messages[index - 1])),
    tools: (tools ?? []).map(({ function: { name, description, parameters } }) => ({
      name,
      parameters,
      ...(description === undefined ? {} : { description }),
    })),
  };
}

function chatMessage(
  { role, content, reasoning_content: reasoning, tool_calls: calls }: z.infer<typeof message>,
  before: z.infer<typeof message> | undefined,
): ChatMessage {
  const answers = role === 'tool' && before?.tool_calls !== undefined;
  return {
    role,
    content,
    ...(reasoning === undefined ? {} : { reasoning }),
    ...(calls === undefined
      ? {}
      : { toolCalls: calls.map(({ function: call }, at) => ({ id: `call_${at}`, ...call })) }),
    ...(answers ? { toolCallId: 'call_0' } : {}),
  };
}
