// The request body of the Anthropic Messages API, as clients write it.

import * as z from 'zod';
import { samplingFields } from '../sampling.js';
import { checkFields, isEmpty, parseWith } from '../wire.js';

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
  source: z.looseObject({ type: z.string(), data: z.unknown().optional() }).nullish(),
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

const Format = z.looseObject({
  type: z.string(),
  schema: z.record(z.string(), z.unknown()).nullish(),
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
  thinking: z
    .looseObject({
      type: z.enum(['enabled', 'disabled', 'adaptive']),
      budget_tokens: z.int().min(0).nullish(),
    })
    .nullish(),
  output_config: z
    .looseObject({ format: Format.nullish(), effort: z.string().nullish() })
    .nullish(),
  /** The same, as it was called while it was new. */
  output_format: Format.nullish(),
});

const MessagesBody = CountBody.extend({
  max_tokens: z.int().min(0),
  stop_sequences: z.array(z.string()).max(16).nullish(),
  temperature: samplingFields.temperature,
  top_p: samplingFields.top_p,
  top_k: samplingFields.top_k,
  stream: z.boolean().nullish(),
});

export type WireBlock = z.infer<typeof Block>;
export type CountBody = z.infer<typeof CountBody>;
export type MessagesBody = z.infer<typeof MessagesBody>;

const ONLY = { mcp_servers: isEmpty, container: () => false };

/** Accepted and without effect here: they steer billing, or what a remote service keeps. */
const HARMLESS = new Set([
  ...['metadata', 'service_tier', 'cache_control', 'context_management', 'betas'],
  ...['anthropic_beta', 'inference_geo', 'speed', 'diagnostics'],
]);

/** @param onUnknown told of fields that no API we know has */
export function parseMessagesBody(
  body: unknown,
  onUnknown: (field: string) => void = () => undefined,
): MessagesBody {
  const parsed = parseWith(MessagesBody, body);
  checkFields(parsed, MessagesBody.shape, ONLY, HARMLESS, onUnknown);
  return parsed;
}

/** Needs no `max_tokens`. */
export const parseCountBody = (body: unknown): CountBody => parseWith(CountBody, body);
export const parseBlocks = (value: unknown): WireBlock[] | null => {
  const parsed = z.array(Block).safeParse(value);
  return parsed.success ? parsed.data : null;
};
