// Evaluation prompts as data: one JSON object a line, one file a skill. This folder knows questions and what
// counts as right; it sees an engine only through engine/types.ts.

import { z } from 'zod';
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

const record = z.object({
  id: z.string(),
  messages: z.array(message),
  tools: z.array(tool).optional(),
  expect: expectation,
});

/** Exact text, calls in order, or one JSON object that fits a schema and equals this one. */
export type Expectation = z.infer<typeof expectation>;
export type ObjectSchema = z.infer<typeof objectSchema>;

export interface EvalRecord {
  id: string;
  messages: ChatMessage[];
  tools: ToolDefinition[];
  expect: Expectation;
}

/** Lines of one file. Throws ERR_USAGE naming file and line. */
export function parseRecords(file: string, text: string): EvalRecord[] {
  return text
    .split('\n')
    .map((line, index) => ({ line, number: index + 1 }))
    .filter(({ line }) => line.trim() !== '')
    .map(({ line, number }) => parseRecord(`${file}:${number}`, line));
}

function parseRecord(place: string, line: string): EvalRecord {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw new FlashmoeError('ERR_USAGE', `${place}: not JSON`, { cause });
  }
  const parsed = record.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw new FlashmoeError(
      'ERR_USAGE',
      `${place}: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`,
    );
  }
  const { id, messages, tools, expect } = parsed.data;
  return {
    id,
    expect,
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
