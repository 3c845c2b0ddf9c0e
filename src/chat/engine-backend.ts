// Answers from an engine in this process.

import type { ChatMessage, Engine } from '../engine/types.js';
import type { ChatBackend, ChatEvent, ChatOptions } from './backend.js';

export function engineBackend(engine: Engine): ChatBackend {
  const { id, contextLength } = engine.model;
  return {
    model: id,
    place: 'this process',
    contextLength,
    answer: (messages, options, signal) => answer(engine, messages, options, signal),
    close: () => engine.close(),
  };
}

async function* answer(
  engine: Engine,
  messages: readonly ChatMessage[],
  { thinking, maxTokens, temperature, seed }: ChatOptions,
  signal: AbortSignal,
): AsyncGenerator<ChatEvent> {
  const sampling = {
    ...(temperature === null ? {} : { temperature }),
    ...(seed === null ? {} : { seed }),
  };
  const request = { messages: [...messages], tools: [], thinking, maxTokens, stop: [], sampling };
  for await (const event of engine.chat(request, signal)) {
    if (event.type === 'prefill') yield { type: 'reading', done: event.done, total: event.total };
    if (event.type === 'text') yield { type: 'text', channel: event.channel, text: event.text };
    if (event.type !== 'finish') continue;
    const { usage, timings, reason } = event;
    const { promptTokens, cachedTokens, completionTokens } = usage;
    // The first token comes out of the prefill.
    const decoded = Math.max(0, completionTokens - 1);
    yield {
      ...{ type: 'finish', reason, promptTokens, cachedTokens, completionTokens },
      tokensPerSecond: timings.decodeSeconds > 0 ? decoded / timings.decodeSeconds : 0,
      prefillSeconds: timings.prefillSeconds,
    };
  }
}
