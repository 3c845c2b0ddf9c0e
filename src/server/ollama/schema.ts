// Request bodies of Ollama's API, as its clients write them.

import * as z from 'zod';
import { checkFields, parseWith } from '../wire.js';
import { samplingFields } from '../sampling.js';

/** Seconds, or a text such as 5m or 1h30m; below 0: for ever. */
const KeepAlive = z.union([z.number(), z.string().max(32)]).nullish();
const Think = z.union([z.boolean(), z.enum(['low', 'medium', 'high'])]).nullish();
const Format = z.union([z.enum(['', 'json']), z.record(z.string(), z.unknown())], {
  error: 'must be "json" or a JSON schema',
});

const Options = z.looseObject({
  ...samplingFields,
  temperature: z.number().min(0).max(5).nullish(),
  num_predict: z.int().min(-2).nullish(),
  stop: z.union([z.string(), z.array(z.string()).max(16)]).nullish(),
});

/** They choose how another engine computes, or what it decides by itself here. */
const HARMLESS_OPTIONS = new Set([
  ...['num_ctx', 'num_batch', 'num_gpu', 'main_gpu', 'num_thread', 'num_keep', 'numa', 'low_vram'],
  ...['use_mmap', 'use_mlock', 'vocab_only', 'f16_kv', 'repeat_last_n', 'penalize_newline'],
]);
const ONLY_OPTIONS = {
  mirostat: (value: unknown) => value === 0,
  tfs_z: (value: unknown) => value === 1,
  typical_p: (value: unknown) => value === 1,
};

const shared = {
  model: z.string(),
  stream: z.boolean().nullish(),
  format: Format.nullish(),
  options: Options.nullish(),
  keep_alive: KeepAlive,
  think: Think,
};

const Message = z.looseObject({
  role: z.enum(['system', 'user', 'assistant', 'tool']),
  content: z.string().nullish(),
  thinking: z.string().nullish(),
  images: z.array(z.unknown()).nullish(),
  tool_name: z.string().nullish(),
  tool_call_id: z.string().nullish(),
  tool_calls: z
    .array(
      z.looseObject({
        id: z.string().nullish(),
        function: z.looseObject({
          name: z.string().min(1),
          arguments: z.union([z.string(), z.record(z.string(), z.unknown())]).nullish(),
        }),
      }),
    )
    .max(128)
    .nullish(),
});

const ChatBody = z.looseObject({
  ...shared,
  messages: z.array(Message).nullish(),
  tools: z
    .array(
      z.looseObject({
        function: z.looseObject({
          name: z.string().min(1).max(256),
          description: z.string().nullish(),
          parameters: z.record(z.string(), z.unknown()).nullish(),
        }),
      }),
    )
    .max(1024)
    .nullish(),
});

const GenerateBody = z.looseObject({
  ...shared,
  prompt: z.string().nullish(),
  system: z.string().nullish(),
  raw: z.boolean().nullish(),
  images: z.array(z.unknown()).nullish(),
});

const ONLY = {
  suffix: (value: unknown) => value === '',
  template: (value: unknown) => value === '',
  context: (value: unknown) => Array.isArray(value) && value.length === 0,
};

export type ChatBody = z.infer<typeof ChatBody>;
export type GenerateBody = z.infer<typeof GenerateBody>;
export type WireMessage = z.infer<typeof Message>;

type OnUnknown = (field: string) => void;

export function parseChatBody(body: unknown, onUnknown: OnUnknown): ChatBody {
  const parsed = parseWith(ChatBody, body);
  checkFields(parsed, ChatBody.shape, {}, new Set(), onUnknown);
  checkOptions(parsed, onUnknown);
  return parsed;
}

export function parseGenerateBody(body: unknown, onUnknown: OnUnknown): GenerateBody {
  const parsed = parseWith(GenerateBody, body);
  checkFields(parsed, GenerateBody.shape, ONLY, new Set(), onUnknown);
  checkOptions(parsed, onUnknown);
  return parsed;
}

function checkOptions({ options }: ChatBody | GenerateBody, onUnknown: OnUnknown): void {
  checkFields(options ?? {}, Options.shape, ONLY_OPTIONS, HARMLESS_OPTIONS, (field) =>
    onUnknown(`options.${field}`),
  );
}

const ShowBody = z.looseObject({ model: z.string().nullish(), name: z.string().nullish() });

export function parseShowBody(body: unknown): string {
  const { model, name } = parseWith(ShowBody, body);
  return model ?? name ?? '';
}
