// One question to a model, greedily and without thinking, and what came back.

import { FlashmoeError } from '../base/errors.js';
import type { Engine, GenerateEvent, Timings, Usage } from '../engine/types.js';
import type { SmokeQuestion } from '../models/smoke.js';

export interface Generated {
  text: string;
  /** Of a question by ids only. */
  ids: number[];
  usage: Usage;
  timings: Timings;
}

export function ask(
  engine: Engine,
  question: SmokeQuestion,
  signal: AbortSignal,
): Promise<Generated> {
  const sampling = { temperature: 0 };
  if (question.kind === 'tokens') {
    const { prompt: tokens, expected } = question;
    const request = { tokens, maxTokens: expected.length, sampling };
    return collect(engine.continueTokens(request, signal));
  }
  const { messages, maxTokens } = question;
  const request = { messages, tools: [], thinking: false, maxTokens, stop: [], sampling };
  return collect(engine.chat(request, signal));
}

async function collect(events: AsyncIterable<GenerateEvent>): Promise<Generated> {
  let text = '';
  const ids: number[] = [];
  for await (const event of events) {
    if (event.type === 'text' && event.channel === 'content') text += event.text;
    else if (event.type === 'token') ids.push(event.id);
    else if (event.type === 'finish') {
      return { text, ids, usage: event.usage, timings: event.timings };
    }
  }
  throw new FlashmoeError('ERR_ENGINE', 'the engine ended an answer without saying so');
}

/** Steps of decoding: the first token of an answer needs none. */
export function decoded({ usage }: Generated): number {
  return Math.max(0, usage.completionTokens - 1);
}
