// Answers in the words of the completions API.

import type { GenerateEvent, TokenLogprob } from '../../../engine/types.js';
import type { ApiError } from '../../api-error.js';
import { wireTimings, wireUsage, type Identity } from '../chat/response.js';
import { addFinish, CollectedAnswer, type FinishEvent } from '../../collected-answer.js';
import type { StreamEncoder } from '../../generation.js';
import { DONE, dataEvent } from '../../sse.js';

export class CompletionEncoder implements StreamEncoder {
  readonly #answers: CollectedAnswer[];
  readonly #offsets: number[];
  #sum: FinishEvent | null = null;

  /** @param echoed text that each choice begins with */
  constructor(
    private readonly identity: Identity,
    private readonly echoed: readonly string[],
    private readonly withUsage: boolean,
  ) {
    this.#answers = echoed.map(() => new CollectedAnswer());
    this.#offsets = echoed.map((text) => text.length);
  }

  begin(): string[] {
    return this.echoed.flatMap((text, index) =>
      text === '' ? [] : [dataEvent(this.#object([{ ...choice(index, text), logprobs: null }]))],
    );
  }

  event(index: number, event: GenerateEvent): string[] {
    this.#answers[index]?.add(event);
    if (event.type === 'text') {
      const logprobs = this.#logprobs(index, event.logprobs ?? []);
      return [dataEvent(this.#object([{ ...choice(index, event.text), logprobs }]))];
    }
    if (event.type !== 'finish') return [];
    this.#sum = addFinish(this.#sum, event);
    const last = { ...choice(index, ''), logprobs: null, finish_reason: event.reason };
    return [dataEvent(this.#object([last]))];
  }

  end(): string[] {
    const usage = this.#usage();
    return this.withUsage ? [dataEvent({ ...this.#object([]), ...usage }), DONE] : [DONE];
  }

  failed(error: ApiError): string[] {
    return [dataEvent(error.body())];
  }

  body(): unknown {
    const choices = this.#answers.map((answer, index) => {
      this.#offsets[index] = this.echoed[index]?.length ?? 0;
      return {
        ...choice(index, (this.echoed[index] ?? '') + answer.content),
        logprobs: this.#logprobs(index, answer.logprobs),
        finish_reason: answer.finish?.reason ?? null,
      };
    });
    return { ...this.#object(choices), ...this.#usage() };
  }

  #usage(): object {
    if (this.#sum === null) return {};
    return { usage: wireUsage(this.#sum.usage), timings: wireTimings(this.#sum) };
  }

  #object(choices: unknown[]): object {
    return { ...this.identity, object: 'text_completion', choices };
  }

  #logprobs(index: number, logprobs: readonly TokenLogprob[]): unknown {
    if (logprobs.length === 0) return null;
    const offsets = logprobs.map(({ text }) => {
      const at = this.#offsets[index] ?? 0;
      this.#offsets[index] = at + text.length;
      return at;
    });
    return {
      tokens: logprobs.map(({ text }) => text),
      token_logprobs: logprobs.map(({ logprob }) => logprob),
      top_logprobs: logprobs.map(({ top }) =>
        Object.fromEntries(top.map(({ text, logprob }) => [text, logprob])),
      ),
      text_offset: offsets,
    };
  }
}

function choice(index: number, text: string): object {
  return { text, index, finish_reason: null };
}
