// The request body of the older completions API: text that goes on, without roles or a template.

import * as z from 'zod';
import type { TextRequest } from '../../../engine/types.js';
import { badField } from '../../api-error.js';
import { checkFields, given, isEmpty, parseWith } from '../../wire.js';
import { samplingFields, samplingOf } from '../../sampling.js';

const CompletionBody = z.looseObject({
  model: z.string().nullish(),
  prompt: z.union(
    [
      z.string(),
      z.array(z.string()).min(1).max(16),
      z.array(z.int().min(0)).min(1),
      z
        .array(z.array(z.int().min(0)).min(1))
        .min(1)
        .max(16),
    ],
    { error: 'must be a string, token ids, or up to 16 of either' },
  ),
  max_tokens: z.int().min(-1).nullish(),
  echo: z.boolean().nullish(),
  n: z.int().min(1).max(16).nullish(),
  logprobs: z.int().min(0).max(20).nullish(),
  stop: z.union([z.string(), z.array(z.string()).max(4)]).nullish(),
  ...samplingFields,
  stream: z.boolean().nullish(),
  stream_options: z.looseObject({ include_usage: z.boolean().nullish() }).nullish(),
});

export type CompletionBody = z.infer<typeof CompletionBody>;

const ONLY: Record<string, (value: unknown) => boolean> = {
  suffix: (value) => value === '',
  best_of: (value) => value === 1,
  grammar: () => false,
  json_schema: () => false,
  response_format: (value) => isEmpty(value) || (value as { type?: unknown }).type === 'text',
};
const HARMLESS = new Set(['user', 'cache_prompt', 'store', 'metadata']);

export function parseCompletionBody(
  body: unknown,
  onUnknown: (field: string) => void,
): CompletionBody {
  const parsed = parseWith(CompletionBody, body);
  checkFields(parsed, CompletionBody.shape, ONLY, HARMLESS, onUnknown);
  if (parsed.echo === true && !promptsOf(parsed).every((one) => typeof one === 'string')) {
    throw badField('echo', 'echo of token ids is not supported');
  }
  if (parsed.echo === true && typeof parsed.logprobs === 'number') {
    throw badField('logprobs', 'logprobs together with echo is not supported');
  }
  return parsed;
}

export function promptsOf({ prompt }: CompletionBody): (string | number[])[] {
  if (typeof prompt === 'string') return [prompt];
  return isIds(prompt) ? [prompt] : prompt;
}

/** `n` requests for each prompt, in order. */
export function completionRequests(body: CompletionBody): TextRequest[] {
  // The API's own default.
  const limit = body.max_tokens ?? 16;
  const stops = typeof body.stop === 'string' ? [body.stop] : (body.stop ?? []);
  const n = body.n ?? 1;
  return promptsOf(body).flatMap((prompt) =>
    Array.from({ length: n }, (_, i) => ({
      prompt,
      maxTokens: limit < 0 ? null : limit,
      stop: stops.filter((stop) => stop !== ''),
      ...(i < n - 1 ? { again: true } : {}),
      ...given('topLogprobs', body.logprobs),
      sampling: samplingOf(body, i),
    })),
  );
}

function isIds(prompt: string[] | number[] | number[][]): prompt is number[] {
  return typeof prompt[0] === 'number';
}
