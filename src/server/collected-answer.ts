// An answer's events added up, for clients that don't stream and for what a stream repeats at its end.

import type { GenerateEvent, TokenLogprob } from '../engine/types.js';

export type FinishEvent = Extract<GenerateEvent, { type: 'finish' }>;

export interface CollectedCall {
  id: string;
  name: string;
  /** Text of the arguments object; broken off where the answer was. */
  json: string;
}

export class CollectedAnswer {
  content = '';
  reasoning = '';
  readonly calls: CollectedCall[] = [];
  readonly logprobs: TokenLogprob[] = [];
  finish: FinishEvent | null = null;

  add(event: GenerateEvent): void {
    switch (event.type) {
      case 'text':
        if (event.channel === 'content') this.content += event.text;
        else this.reasoning += event.text;
        this.logprobs.push(...(event.logprobs ?? []));
        break;
      case 'tool-call':
        this.calls.push({ id: event.id, name: event.name, json: '' });
        break;
      case 'tool-arguments': {
        const call = this.calls[event.index];
        if (call !== undefined) call.json += event.json;
        break;
      }
      case 'finish':
        this.logprobs.push(...(event.logprobs ?? []));
        this.finish = event;
        break;
      case 'prefill':
      case 'decode':
      case 'token':
        break;
    }
  }
}

/** Work for several answers to one prompt, which was read for the first of them. */
export function addFinish(sum: FinishEvent | null, next: FinishEvent): FinishEvent {
  if (sum === null) return next;
  const { usage, timings } = next;
  return {
    ...next,
    usage: {
      promptTokens: sum.usage.promptTokens,
      cachedTokens: sum.usage.cachedTokens,
      completionTokens: sum.usage.completionTokens + usage.completionTokens,
      reasoningTokens: sum.usage.reasoningTokens + usage.reasoningTokens,
    },
    timings: {
      prefillSeconds: sum.timings.prefillSeconds + timings.prefillSeconds,
      decodeSeconds: sum.timings.decodeSeconds + timings.decodeSeconds,
      expertBytesRead: sum.timings.expertBytesRead + timings.expertBytesRead,
    },
  };
}
