// An engine without a model: it says what a test tells it to, and stops where a test holds it.

import { FlashmoeError } from '../../src/base/errors.js';
import type {
  AnswerRequest,
  ChatRequest,
  Engine,
  FinishReason,
  GenerateEvent,
  LoadedModel,
  Prepared,
  TextRequest,
} from '../../src/engine/types.js';

export type Script = (request: AnswerRequest, signal: AbortSignal) => AsyncIterable<GenerateEvent>;

export class MemoryEngine implements Engine {
  readonly model: LoadedModel = {
    id: 'org/test-model',
    repo: 'org/test-model',
    quant: '4bit',
    contextLength: 1000,
    expertsPerToken: 4,
    backend: 'memory',
    gpuMissing: null,
    isa: 'none',
    denseBytes: 0,
    expertBytesPerToken: 0,
  };
  readonly requests: ChatRequest[] = [];
  readonly texts: TextRequest[] = [];
  closed = false;

  constructor(private readonly script: Script) {}

  /** One token a character. */
  // eslint-disable-next-line @typescript-eslint/require-await -- what it throws is a rejection
  async countTokens(request: AnswerRequest): Promise<number> {
    const messages = 'prompt' in request ? [{ content: request.prompt }] : request.messages;
    const promptTokens = messages.reduce((sum, { content }) => sum + content.length, 0);
    const { contextLength } = this.model;
    if (promptTokens + (request.maxTokens ?? 0) > contextLength) {
      throw new FlashmoeError('ERR_CONTEXT', `${promptTokens} tokens do not fit ${contextLength}`, {
        figures: { promptTokens, contextLength },
      });
    }
    if (messages.some((message) => message.content === 'refuse')) {
      throw new FlashmoeError('ERR_TEMPLATE', 'the template refuses: no', { subject: 'messages' });
    }
    return promptTokens;
  }

  async prepare(requests: readonly AnswerRequest[]): Promise<Prepared> {
    const prompts = await Promise.all(requests.map((request) => this.render(request)));
    return {
      prompts,
      answer: (index, signal) => {
        const request = requests[index];
        if (request === undefined) throw new RangeError(`no request ${index}`);
        return this.chat(request, signal);
      },
      release: () => undefined,
    };
  }

  async render(request: AnswerRequest): Promise<{ text: string; ids: number[] }> {
    const length = await this.countTokens(request);
    return { text: 'prompt', ids: Array.from({ length }, () => 0) };
  }

  /** Every token is as good as any other. */
  score(tokens: readonly number[]): Promise<number[]> {
    return Promise.resolve(tokens.slice(1).map(() => -1));
  }

  /** One token a character, its code the id. */
  tokenize(text: string): Promise<number[]> {
    return Promise.resolve(Array.from(text, (character) => character.codePointAt(0) ?? 0));
  }

  detokenize(ids: readonly number[]): string {
    if (ids.some((id) => id > 0x10_ff_ff))
      throw new FlashmoeError('ERR_USAGE', 'is not a token id');
    return String.fromCodePoint(...ids);
  }

  chat(request: AnswerRequest, signal: AbortSignal): AsyncIterable<GenerateEvent> {
    if ('prompt' in request) this.texts.push(request);
    else this.requests.push(request);
    return this.script(request, signal);
  }

  continueTokens(): AsyncIterable<GenerateEvent> {
    throw new Error('not asked of this engine');
  }

  close(): Promise<void> {
    this.closed = true;
    return Promise.resolve();
  }
}

export function finish(reason: FinishReason = 'stop'): GenerateEvent {
  return {
    type: 'finish',
    reason,
    stopSequence: null,
    usage: { promptTokens: 9, cachedTokens: 2, completionTokens: 5, reasoningTokens: 1 },
    timings: { prefillSeconds: 0.5, decodeSeconds: 2, expertBytesRead: 4096 },
  };
}

export function said(text: string, channel: 'content' | 'reasoning' = 'content'): GenerateEvent {
  return { type: 'text', channel, text };
}

/** Says these, in order. */
export function says(...events: GenerateEvent[]): Script {
  return async function* () {
    await Promise.resolve();
    yield* events;
  };
}

/** A promise that a test settles. */
export class Gate {
  open!: () => void;
  readonly opened = new Promise<void>((resolve) => (this.open = resolve));
}

/** Settles when the signal fires. */
export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
