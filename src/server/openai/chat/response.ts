// From the engine's events to chat completions: one object, or chunks.

import type {
  FinishReason,
  GenerateEvent,
  Timings,
  TokenLogprob,
  Usage,
} from '../../../engine/types.js';
import type { CollectedAnswer, FinishEvent } from '../../collected-answer.js';

/** What all objects of one answer share. */
export interface Identity {
  id: string;
  /** Seconds since the epoch. */
  created: number;
  model: string;
  system_fingerprint: string;
}

interface Delta {
  role?: 'assistant';
  content?: string | null;
  reasoning_content?: string;
  tool_calls?: unknown[];
}

/** @param index of the choice */
export function firstChunk(identity: Identity, index: number): unknown {
  return chunk(identity, index, { role: 'assistant', content: null });
}

/** The chunk of one event; null for progress. */
export function eventChunk(identity: Identity, index: number, event: GenerateEvent): unknown {
  switch (event.type) {
    case 'text':
      return event.channel === 'content'
        ? chunk(identity, index, { content: event.text }, null, event.logprobs)
        : chunk(identity, index, { reasoning_content: event.text });
    case 'tool-call': {
      // Name and id once, then the arguments; clients add the pieces up by index.
      const { id, name } = event;
      const head = { index: event.index, id, type: 'function', function: { name, arguments: '' } };
      return chunk(identity, index, { tool_calls: [head] });
    }
    case 'tool-arguments': {
      const piece = { index: event.index, function: { arguments: event.json } };
      return chunk(identity, index, { tool_calls: [piece] });
    }
    case 'finish':
      return chunk(identity, index, {}, event.reason, event.logprobs);
    case 'prefill':
    case 'decode':
    case 'token':
      return null;
  }
}

/** In llama.cpp's words, for clients that asked for it: how far the reading of the prompt is. */
export function progressChunk(
  identity: Identity,
  index: number,
  { done, total }: { done: number; total: number },
  progress: { cached: number; milliseconds: number },
): unknown {
  const { cached, milliseconds } = progress;
  return {
    ...identity,
    object: 'chat.completion.chunk',
    choices: [{ index, delta: {}, logprobs: null, finish_reason: null }],
    prompt_progress: { total, cache: cached, processed: done, time_ms: milliseconds },
  };
}

export function usageChunk(identity: Identity, finish: FinishEvent): unknown {
  return {
    ...identity,
    object: 'chat.completion.chunk',
    choices: [],
    usage: wireUsage(finish.usage),
    timings: wireTimings(finish),
  };
}

function chunk(
  identity: Identity,
  index: number,
  delta: Delta,
  finish: FinishReason | null = null,
  logprobs: readonly TokenLogprob[] = [],
): unknown {
  const choice = { index, delta, logprobs: wireLogprobs(logprobs), finish_reason: finish };
  return { ...identity, object: 'chat.completion.chunk', choices: [choice] };
}

/** Several answers to one prompt, or one, for a client that doesn't stream. */
export function completionBody(
  identity: Identity,
  answers: readonly CollectedAnswer[],
  finish: FinishEvent,
): unknown {
  return {
    ...identity,
    object: 'chat.completion',
    choices: answers.map((answer, index) => ({
      index,
      message: wireMessage(answer),
      logprobs: wireLogprobs(answer.logprobs),
      finish_reason: answer.finish?.reason ?? null,
    })),
    usage: wireUsage(finish.usage),
    timings: wireTimings(finish),
  };
}

function wireMessage({ content, reasoning, calls }: CollectedAnswer): unknown {
  const toolCalls = calls.map(({ id, name, json }) => ({
    id,
    type: 'function',
    function: { name, arguments: json },
  }));
  return {
    role: 'assistant',
    content: content === '' && calls.length > 0 ? null : content,
    refusal: null,
    ...(reasoning === '' ? {} : { reasoning_content: reasoning }),
    ...(calls.length === 0 ? {} : { tool_calls: toolCalls }),
  };
}

function wireLogprobs(logprobs: readonly TokenLogprob[]): unknown {
  if (logprobs.length === 0) return null;
  const entry = ({ text, bytes, logprob }: Omit<TokenLogprob, 'top'>): object => {
    return { token: text, logprob, bytes };
  };
  const content = logprobs.map((one) => ({ ...entry(one), top_logprobs: one.top.map(entry) }));
  return { content, refusal: null };
}

export function wireUsage(usage: Usage): unknown {
  return {
    prompt_tokens: usage.promptTokens,
    completion_tokens: usage.completionTokens,
    total_tokens: usage.promptTokens + usage.completionTokens,
    prompt_tokens_details: { cached_tokens: usage.cachedTokens },
    completion_tokens_details: { reasoning_tokens: usage.reasoningTokens },
  };
}

/** llama.cpp's names, which clients read, and what only a streamed model has. */
export function wireTimings({ usage, timings }: { usage: Usage; timings: Timings }): unknown {
  const prefilled = usage.promptTokens - usage.cachedTokens;
  return {
    cache_n: usage.cachedTokens,
    prompt_n: prefilled,
    prompt_ms: timings.prefillSeconds * 1000,
    prompt_per_second: rate(prefilled, timings.prefillSeconds),
    predicted_n: usage.completionTokens,
    predicted_ms: timings.decodeSeconds * 1000,
    // The first token comes out of the prefill.
    predicted_per_second: rate(usage.completionTokens - 1, timings.decodeSeconds),
    expert_bytes_read: timings.expertBytesRead,
    ...(timings.grammar === undefined
      ? {}
      : {
          grammar_compile_ms: timings.grammar.compileSeconds * 1000,
          mask_n: timings.grammar.masks,
          mask_ms_per_token:
            (timings.grammar.maskSeconds * 1000) / Math.max(1, timings.grammar.masks),
        }),
  };
}

function rate(tokens: number, seconds: number): number {
  return seconds > 0 && tokens > 0 ? tokens / seconds : 0;
}
