// The request body of the Responses API, as clients write it.

import * as z from 'zod';
import { checkFields, parseWith } from '../../wire.js';
import { samplingFields } from '../../sampling.js';

const Part = z.looseObject({
  type: z.string(),
  text: z.string().nullish(),
  refusal: z.string().nullish(),
});
const Parts = z.union([z.string(), z.array(Part)], {
  error: 'must be a string or an array of content parts',
});

const Item = z.looseObject({
  id: z.string().nullish(),
  type: z.string().nullish(),
  role: z.enum(['system', 'developer', 'user', 'assistant']).nullish(),
  content: Parts.nullish(),
  summary: z.array(Part).nullish(),
  call_id: z.string().nullish(),
  name: z.string().nullish(),
  namespace: z.string().nullish(),
  arguments: z.string().nullish(),
  input: z.string().nullish(),
  output: Parts.nullish(),
});

const Format = z.looseObject({
  type: z.string(),
  name: z.string().nullish(),
  schema: z.record(z.string(), z.unknown()).nullish(),
});

const Tool = z.looseObject({
  type: z.string(),
  name: z.string().max(256).nullish(),
  description: z.string().nullish(),
  parameters: z.record(z.string(), z.unknown()).nullish(),
  strict: z.boolean().nullish(),
  format: z.looseObject({ type: z.string(), definition: z.string().nullish() }).nullish(),
  /** Of a namespace. */
  get tools() {
    return z.array(Tool).max(1024).nullish();
  },
});

const ResponsesBody = z.looseObject({
  model: z.string().nullish(),
  input: z.union([z.string(), z.array(Item).min(1)], {
    error: 'must be a string or an array of at least one item',
  }),
  instructions: z.string().nullish(),
  previous_response_id: z.string().nullish(),
  tools: z.array(Tool).max(1024).nullish(),
  tool_choice: z
    .union(
      [
        z.enum(['none', 'auto', 'required']),
        z.looseObject({
          type: z.enum(['function', 'custom', 'allowed_tools']),
          name: z.string().nullish(),
          mode: z.enum(['auto', 'required']).nullish(),
          tools: z.array(z.looseObject({ name: z.string().nullish() })).nullish(),
        }),
      ],
      {
        error: 'must be none, auto, required, or name a function or custom tool, or allowed_tools',
      },
    )
    .nullish(),
  parallel_tool_calls: z.boolean().nullish(),
  max_output_tokens: z.int().min(1).nullish(),
  temperature: samplingFields.temperature,
  top_p: samplingFields.top_p,
  text: z.looseObject({ format: Format.nullish() }).nullish(),
  reasoning: z.looseObject({ effort: z.string().nullish() }).nullish(),
  store: z.boolean().nullish(),
  metadata: z.record(z.string(), z.string()).nullish(),
  stream: z.boolean().nullish(),
});

export type ResponsesBody = z.infer<typeof ResponsesBody>;
export type WireTool = z.infer<typeof Tool>;
export type WireItem = z.infer<typeof Item>;
export type WirePart = z.infer<typeof Part>;

const ONLY: Record<string, (value: unknown) => boolean> = {
  background: (value) => value === false,
  include: (value) => !(value as unknown[]).includes?.('message.output_text.logprobs'),
  conversation: () => false,
  prompt: () => false,
  top_logprobs: (value) => value === 0,
  truncation: (value) => value === 'disabled',
};
const HARMLESS = new Set([
  ...['user', 'service_tier', 'prompt_cache_key', 'prompt_cache_retention'],
  ...['safety_identifier', 'client_metadata', 'stream_options', 'max_tool_calls'],
]);

export function parseResponsesBody(
  body: unknown,
  onUnknown: (field: string) => void,
): ResponsesBody {
  const parsed = parseWith(ResponsesBody, body);
  checkFields(parsed, ResponsesBody.shape, ONLY, HARMLESS, onUnknown);
  return parsed;
}
