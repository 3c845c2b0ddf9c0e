// From the engine's events to chat completions: one object, or chunks.

import type { FinishReason, GenerateEvent, Timings, ToolCall, Usage } from '../engine/types.js';

export type FinishEvent = Extract<GenerateEvent, { type: 'finish' }>;

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

export function firstChunk(identity: Identity): unknown {
  return chunk(identity, { role: 'assistant', content: null });
}

/** Chunks of one event; none for progress. */
export function eventChunks(identity: Identity, event: GenerateEvent): unknown[] {
  switch (event.type) {
    case 'text':
      return [
        chunk(
          identity,
          event.channel === 'content' ? { content: event.text } : { reasoning_content: event.text },
        ),
      ];
    case 'tool-call': {
      // Name and id once, then the arguments; clients add the pieces up by index.
      const { index, call } = event;
      const head = {
        index,
        id: call.id,
        type: 'function',
        function: { name: call.name, arguments: '' },
      };
      const rest = { index, function: { arguments: JSON.stringify(call.arguments) } };
      return [chunk(identity, { tool_calls: [head] }), chunk(identity, { tool_calls: [rest] })];
    }
    case 'finish':
      return [chunk(identity, {}, event.reason)];
    case 'prefill':
    case 'token':
      return [];
  }
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

function chunk(identity: Identity, delta: Delta, finish: FinishReason | null = null): unknown {
  const choice = { index: 0, delta, logprobs: null, finish_reason: finish };
  return { ...identity, object: 'chat.completion.chunk', choices: [choice] };
}

/** Adds an answer up for a client that doesn't stream. */
export class Completion {
  #content = '';
  #reasoning = '';
  readonly #calls: ToolCall[] = [];

  add(event: GenerateEvent): void {
    if (event.type === 'tool-call') this.#calls.push(event.call);
    if (event.type !== 'text') return;
    if (event.channel === 'content') this.#content += event.text;
    else this.#reasoning += event.text;
  }

  body(identity: Identity, finish: FinishEvent): unknown {
    const calls = this.#calls.map((call) => ({
      id: call.id,
      type: 'function',
      function: { name: call.name, arguments: JSON.stringify(call.arguments) },
    }));
    const message = {
      role: 'assistant',
      content: this.#content === '' && calls.length > 0 ? null : this.#content,
      refusal: null,
      ...(this.#reasoning === '' ? {} : { reasoning_content: this.#reasoning }),
      ...(calls.length === 0 ? {} : { tool_calls: calls }),
    };
    return {
      ...identity,
      object: 'chat.completion',
      choices: [{ index: 0, message, logprobs: null, finish_reason: finish.reason }],
      usage: wireUsage(finish.usage),
      timings: wireTimings(finish),
    };
  }
}

function wireUsage(usage: Usage): unknown {
  return {
    prompt_tokens: usage.promptTokens,
    completion_tokens: usage.completionTokens,
    total_tokens: usage.promptTokens + usage.completionTokens,
    prompt_tokens_details: { cached_tokens: usage.cachedTokens },
    completion_tokens_details: { reasoning_tokens: usage.reasoningTokens },
  };
}

/** llama.cpp's names, which clients read, and what only a streamed model has. */
function wireTimings({ usage, timings }: { usage: Usage; timings: Timings }): unknown {
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
  };
}

function rate(tokens: number, seconds: number): number {
  return seconds > 0 && tokens > 0 ? tokens / seconds : 0;
}
