// The request body of chat completions, as clients write it. Every field is honoured, harmless to
// ignore, or refused by name; there is no fourth kind.

import * as z from 'zod';
import { badField } from '../../api-error.js';
import { checkFields, isEmpty, parseWith } from '../../wire.js';
import { samplingFields } from '../../sampling.js';

const Content = z.union(
  [z.string(), z.array(z.looseObject({ type: z.string(), text: z.string().nullish() }))],
  { error: 'must be a string or an array of content parts' },
);

const WireToolCall = z.looseObject({
  id: z.string().nullish(),
  type: z.literal('function').nullish(),
  function: z.looseObject({
    name: z.string().min(1),
    arguments: z.union([z.string(), z.record(z.string(), z.unknown())], {
      error: 'must be a JSON string or an object',
    }),
  }),
});

const Message = z.looseObject({
  role: z.enum(['system', 'developer', 'user', 'assistant', 'tool']),
  content: Content.nullish(),
  name: z.string().nullish(),
  reasoning_content: z.string().nullish(),
  reasoning: z.string().nullish(),
  tool_calls: z.array(WireToolCall).max(128).nullish(),
  tool_call_id: z.string().nullish(),
});

const Tool = z.looseObject({
  type: z.literal('function'),
  function: z.looseObject({
    name: z.string().min(1).max(256),
    description: z.string().nullish(),
    parameters: z.record(z.string(), z.unknown()).nullish(),
    strict: z.boolean().nullish(),
  }),
});

/** Variables of the model's template that a client may set: whatever has another source is not among them. */
const TemplateVariables = z
  .record(
    z
      .string()
      .regex(/^(?!(?:messages|tools|documents|add_generation_prompt|\w+_token)$)[a-z]\w{0,63}$/i, {
        error: 'is not a variable that can be set',
      }),
    z.union([z.boolean(), z.number(), z.string().max(4096)], {
      error: 'must be true, false, a number or a text',
    }),
  )
  .refine(({ enable_thinking: asked }) => asked === undefined || typeof asked === 'boolean', {
    path: ['enable_thinking'],
    error: 'must be true or false',
  });

const Schema = z.union([z.string(), z.record(z.string(), z.unknown())], {
  error: 'must be a JSON schema',
});
const Choices = z.array(z.string().min(1)).min(1).max(1024);

/** vLLM's newer name of the guided fields; others than these are refused. */
const StructuredOutputs = z.strictObject({
  json: Schema.nullish(),
  choice: Choices.nullish(),
  regex: z.string().min(1).nullish(),
  json_object: z.boolean().nullish(),
});

const ChatBody = z.looseObject({
  model: z.string().nullish(),
  messages: z.array(Message).min(1, 'must hold at least one message'),
  tools: z.array(Tool).max(1024).nullish(),
  tool_choice: z
    .union(
      [
        z.enum(['none', 'auto', 'required']),
        z.looseObject({
          type: z.literal('function'),
          function: z.looseObject({ name: z.string() }),
        }),
      ],
      { error: 'must be none, auto, required or {"type":"function","function":{"name":…}}' },
    )
    .nullish(),
  response_format: z
    .looseObject({
      type: z.string(),
      json_schema: z.looseObject({ schema: z.record(z.string(), z.unknown()).nullish() }).nullish(),
      /** Beside json_object, as llama.cpp has it. */
      schema: z.record(z.string(), z.unknown()).nullish(),
    })
    .nullish(),
  guided_json: Schema.nullish(),
  guided_choice: Choices.nullish(),
  guided_regex: z.string().min(1).nullish(),
  structured_outputs: StructuredOutputs.nullish(),
  /** The last message is an assistant's, and the answer goes on from it. */
  continue_final_message: z.boolean().nullish(),
  add_generation_prompt: z.boolean().nullish(),
  parallel_tool_calls: z.boolean().nullish(),
  max_tokens: z.int().min(-1).nullish(),
  max_completion_tokens: z.int().min(-1).nullish(),
  stop: z
    .union([z.string(), z.array(z.string()).max(4, 'may hold up to 4 strings')], {
      error: 'must be a string or an array of up to 4 strings',
    })
    .nullish(),
  ...samplingFields,
  logprobs: z.boolean().nullish(),
  top_logprobs: z.int().min(0).max(20).nullish(),
  n: z.int().min(1).max(16).nullish(),
  stream: z.boolean().nullish(),
  stream_options: z.looseObject({ include_usage: z.boolean().nullish() }).nullish(),
  return_progress: z.boolean().nullish(),
  reasoning_effort: z.enum(['none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max']).nullish(),
  enable_thinking: z.boolean().nullish(),
  /** Ollama's name of it, and Anthropic's, which several servers take here, too. */
  think: z.boolean().nullish(),
  thinking: z
    .looseObject({
      type: z.enum(['enabled', 'disabled', 'adaptive']),
      budget_tokens: z.int().min(0).nullish(),
    })
    .nullish(),
  /** Tokens; -1: no limit. */
  thinking_budget: z.int().min(-1).nullish(),
  chat_template_kwargs: TemplateVariables.nullish(),
});

export type ChatBody = z.infer<typeof ChatBody>;
export type WireMessage = z.infer<typeof Message>;

/** Fields of the API that only work at the value that changes nothing. */
const ONLY: Record<string, (value: unknown) => boolean> = {
  functions: isEmpty,
  function_call: (value) => value === 'none',
  modalities: (value) => JSON.stringify(value) === '["text"]',
  audio: () => false,
  web_search_options: () => false,
  grammar: () => false,
  json_schema: () => false,
  guided_grammar: () => false,
  guided_decoding_backend: (value) => value === 'auto' || value === 'xgrammar',
};

/** Accepted and without effect here: they steer billing, storage or a remote service. */
const HARMLESS = new Set([
  ...['store', 'metadata', 'user', 'service_tier', 'prompt_cache_key', 'prompt_cache_retention'],
  ...['client_metadata', 'safety_identifier', 'prediction', 'verbosity', 'cache_prompt'],
]);

/** Tools that run on their maker's own servers: the model isn't told of them. */
const SERVER_TOOL =
  /^(?:web_search|web_fetch|file_search|code_interpreter|computer|image_generation|mcp)/;

function withoutServerTools(body: unknown, onLeftOut: (field: string) => void): unknown {
  const { tools } = (body ?? {}) as { tools?: unknown };
  if (!Array.isArray(tools)) return body;
  const isServers = (tool: unknown): boolean => {
    const type = (tool as { type?: unknown } | null)?.type;
    return typeof type === 'string' && SERVER_TOOL.test(type);
  };
  const left = tools.filter(isServers) as { type: string }[];
  for (const { type } of left) onLeftOut(`tools.${type}`);
  return left.length === 0
    ? body
    : { ...(body as object), tools: tools.filter((tool) => !isServers(tool)) };
}

/**
 * Validates a body. Throws a 400 that names the first field at fault.
 * @param onUnknown told of fields that no API we know has
 */
export function parseChatBody(body: unknown, onUnknown: (field: string) => void): ChatBody {
  const parsed = parseWith(ChatBody, withoutServerTools(body, onUnknown));
  checkFields(parsed, ChatBody.shape, ONLY, HARMLESS, onUnknown);
  if ((parsed.top_logprobs ?? 0) > 0 && parsed.logprobs !== true) {
    throw badField('top_logprobs', 'top_logprobs needs logprobs to be true');
  }
  return parsed;
}
