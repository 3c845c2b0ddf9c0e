// The request body of the Anthropic Messages API, as clients write it.

import { z } from 'zod';
import { parseWith } from '../wire.js';

const Block = z.looseObject({
  type: z.string(),
  text: z.string().nullish(),
  thinking: z.string().nullish(),
  id: z.string().nullish(),
  name: z.string().nullish(),
  input: z.record(z.string(), z.unknown()).nullish(),
  tool_use_id: z.string().nullish(),
  is_error: z.boolean().nullish(),
  content: z.unknown().optional(),
});

const Text = z.union([z.string(), z.array(Block)], {
  error: 'must be a string or an array of content blocks',
});

const Tool = z.looseObject({
  type: z.string().nullish(),
  name: z.string().min(1).max(256),
  description: z.string().nullish(),
  input_schema: z.record(z.string(), z.unknown()).nullish(),
  strict: z.boolean().nullish(),
});

const CountBody = z.looseObject({
  model: z.string().nullish(),
  messages: z.array(
    z.looseObject({ role: z.enum(['user', 'assistant', 'system']), content: Text }),
  ),
  system: Text.nullish(),
  tools: z.array(Tool).max(1024).nullish(),
  tool_choice: z
    .looseObject({
      type: z.enum(['auto', 'any', 'tool', 'none']),
      name: z.string().nullish(),
      disable_parallel_tool_use: z.boolean().nullish(),
    })
    .nullish(),
  thinking: z.looseObject({ type: z.enum(['enabled', 'disabled', 'adaptive']) }).nullish(),
});

const MessagesBody = CountBody.extend({
  max_tokens: z.int().min(0),
  stop_sequences: z.array(z.string()).max(16).nullish(),
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().gt(0).max(1).nullish(),
  top_k: z.int().min(0).nullish(),
  stream: z.boolean().nullish(),
});

export type WireBlock = z.infer<typeof Block>;
export type CountBody = z.infer<typeof CountBody>;
export type MessagesBody = z.infer<typeof MessagesBody>;

export const parseMessagesBody = (body: unknown): MessagesBody => parseWith(MessagesBody, body);
/** Needs no `max_tokens`. */
export const parseCountBody = (body: unknown): CountBody => parseWith(CountBody, body);
export const parseBlocks = (value: unknown): WireBlock[] | null => {
  const parsed = z.array(Block).safeParse(value);
  return parsed.success ? parsed.data : null;
};
