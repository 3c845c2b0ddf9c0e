// Answers from a running server of ours, over its own HTTP API: the model is loaded once, and its prompt cache is shared.

import { FlashmoeError } from '../base/errors.js';
import type { ChatMessage } from '../engine/types.js';
import type { ChatBackend, ChatEvent, ChatOptions } from './backend.js';

export interface ServerAddress {
  port: number;
  apiKey: string | null;
}

const PATIENCE_MS = 2_000;

interface Chunk {
  choices?: { delta?: { content?: string; reasoning_content?: string }; finish_reason?: string }[];
  prompt_progress?: { total: number; processed: number };
  usage?: {
    prompt_tokens: number;
    completion_tokens: number;
    prompt_tokens_details?: { cached_tokens?: number };
  };
  timings?: { prompt_ms: number; predicted_per_second: number };
  error?: { message?: string; code?: string };
}

/**
 * A server of ours at this port that has a model, or null: nobody listens, it is something else, or it wants another key.
 * `model` null takes the one it serves.
 */
export async function findServer(
  { port, apiKey }: ServerAddress,
  model: string | null,
): Promise<ChatBackend | null> {
  const base = `http://127.0.0.1:${port}`;
  const headers = apiKey === null ? {} : { authorization: `Bearer ${apiKey}` };
  const entries = await listModels(base, headers);
  const entry = entries.find(({ id }) => model === null || id === model);
  if (entry === undefined) return null;
  return {
    model: entry.id,
    place: `server at 127.0.0.1:${port}`,
    contextLength: entry.context_length ?? null,
    answer: (messages, options, signal) =>
      answer(base, headers, entry.id, messages, options, signal),
    close: () => Promise.resolve(),
  };
}

interface ModelEntry {
  id: string;
  owned_by?: string;
  context_length?: number | null;
}

async function listModels(base: string, headers: Record<string, string>): Promise<ModelEntry[]> {
  try {
    const response = await fetch(`${base}/v1/models`, {
      headers,
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    const { data } = (await response.json()) as { data?: ModelEntry[] };
    return (data ?? []).filter(({ owned_by: owner }) => owner === 'flashmoe');
  } catch {
    // Nobody listens there, or no server of ours.
    return [];
  }
}

async function* answer(
  base: string,
  headers: Record<string, string>,
  model: string,
  messages: readonly ChatMessage[],
  { thinking, maxTokens, temperature, seed }: ChatOptions,
  signal: AbortSignal,
): AsyncGenerator<ChatEvent> {
  const response = await fetch(`${base}/v1/chat/completions`, {
    method: 'POST',
    headers: { ...headers, 'content-type': 'application/json' },
    body: JSON.stringify({
      model,
      messages: messages.map(({ role, content }) => ({ role, content })),
      ...{ stream: true, return_progress: true, stream_options: { include_usage: true } },
      ...(thinking === null ? {} : { enable_thinking: thinking }),
      ...(maxTokens === null ? {} : { max_tokens: maxTokens }),
      ...(temperature === null ? {} : { temperature }),
      ...(seed === null ? {} : { seed }),
    }),
    signal,
  }).catch((error: unknown) => {
    if (signal.aborted) throw error;
    throw new FlashmoeError('ERR_SERVER', 'the server went away', {
      hint: 'send it again: the answer is then computed in this process',
      cause: error,
    });
  });
  if (!response.ok || response.body === null) throw refused((await response.json()) as Chunk);
  let reason = 'stop';
  for await (const chunk of chunksOf(response.body)) {
    if (chunk.error !== undefined) throw refused(chunk);
    const [choice] = chunk.choices ?? [];
    const { delta, finish_reason: finish } = choice ?? {};
    reason = finish ?? reason;
    const progress = chunk.prompt_progress;
    if (progress) yield { type: 'reading', done: progress.processed, total: progress.total };
    if (delta?.reasoning_content) {
      yield { type: 'text', channel: 'reasoning', text: delta.reasoning_content };
    }
    if (delta?.content) yield { type: 'text', channel: 'content', text: delta.content };
    if (!chunk.usage) continue;
    yield {
      ...{ type: 'finish', reason },
      promptTokens: chunk.usage.prompt_tokens,
      cachedTokens: chunk.usage.prompt_tokens_details?.cached_tokens ?? 0,
      completionTokens: chunk.usage.completion_tokens,
      tokensPerSecond: chunk.timings?.predicted_per_second ?? 0,
      prefillSeconds: (chunk.timings?.prompt_ms ?? 0) / 1000,
    };
  }
}

function refused({ error }: Chunk): FlashmoeError {
  return new FlashmoeError('ERR_SERVER', error?.message ?? 'the server refused the request');
}

/** Data lines of an event stream, parsed; comments and [DONE] are nothing to a conversation. */
async function* chunksOf(body: ReadableStream<Uint8Array>): AsyncGenerator<Chunk> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const bytes of body as unknown as AsyncIterable<Uint8Array>) {
    const lines = (rest + decoder.decode(bytes, { stream: true })).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      const data = /^data: ?(.*)$/.exec(line.trimEnd())?.[1];
      if (data !== undefined && data !== '[DONE]') yield JSON.parse(data) as Chunk;
    }
  }
}
