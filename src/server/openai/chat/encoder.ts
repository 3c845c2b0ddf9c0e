// The event stream of chat completions.

import type { GenerateEvent } from '../../../engine/types.js';
import type { ApiError } from '../../api-error.js';
import {
  completionBody,
  eventChunk,
  firstChunk,
  progressChunk,
  usageChunk,
  type Identity,
} from './response.js';
import { addFinish, CollectedAnswer, type FinishEvent } from '../../collected-answer.js';
import type { StreamEncoder } from '../../generation.js';
import { DONE, dataEvent } from '../../sse.js';

export class ChatEncoder implements StreamEncoder {
  readonly #answers: CollectedAnswer[] = [];
  #choices = 1;
  #finish: FinishEvent | null = null;
  /** Where the reading of the prompt began. */
  #reading: { cached: number; since: number } | null = null;

  /** @param progress the clock for chunks about the reading of the prompt; null for none */
  constructor(
    private readonly identity: Identity,
    private readonly withUsage: boolean,
    private readonly progress: (() => number) | null = null,
  ) {}

  begin(): string[] {
    return [this.#chunk(firstChunk(this.identity, 0))];
  }

  event(choice: number, event: GenerateEvent): string[] {
    (this.#answers[choice] ??= new CollectedAnswer()).add(event);
    const chunks: unknown[] = [];
    if (choice >= this.#choices) {
      this.#choices = choice + 1;
      chunks.push(firstChunk(this.identity, choice));
    }
    const said =
      event.type === 'prefill'
        ? this.#progress(choice, event)
        : eventChunk(this.identity, choice, event);
    if (said !== null) chunks.push(said);
    if (event.type === 'finish') this.#finish = addFinish(this.#finish, event);
    return chunks.map((chunk) => this.#chunk(chunk));
  }

  #progress(choice: number, event: Extract<GenerateEvent, { type: 'prefill' }>): unknown {
    if (this.progress === null) return null;
    const now = this.progress();
    this.#reading ??= { cached: event.done, since: now };
    const { cached, since } = this.#reading;
    return progressChunk(this.identity, choice, event, { cached, milliseconds: now - since });
  }

  end(): string[] {
    const usage =
      this.withUsage && this.#finish !== null
        ? [dataEvent(usageChunk(this.identity, this.#finish))]
        : [];
    return [...usage, DONE];
  }

  failed(error: ApiError): string[] {
    // No [DONE] follows an error.
    return [dataEvent(error.body())];
  }

  body(): unknown {
    return this.#finish === null
      ? null
      : completionBody(this.identity, this.#answers, this.#finish);
  }

  /** With usage at the end, all others say that they have none. */
  #chunk(chunk: unknown): string {
    return dataEvent(this.withUsage ? { ...(chunk as object), usage: null } : chunk);
  }
}
