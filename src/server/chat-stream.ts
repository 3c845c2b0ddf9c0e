// The event stream of chat completions.

import type { GenerateEvent } from '../engine/types.js';
import type { ApiError } from './api-error.js';
import { eventChunk, firstChunk, usageChunk, type Identity } from './chat-response.js';
import { addFinish, type FinishEvent } from './collected-answer.js';
import type { StreamWords } from './generation.js';
import { DONE, dataEvent } from './sse.js';

export class ChatWords implements StreamWords {
  #choices = 1;
  #finish: FinishEvent | null = null;

  constructor(
    private readonly identity: Identity,
    private readonly withUsage: boolean,
  ) {}

  begin(): string[] {
    return [dataEvent(firstChunk(this.identity, 0))];
  }

  event(choice: number, event: GenerateEvent): string[] {
    const chunks: unknown[] = [];
    if (choice >= this.#choices) {
      this.#choices = choice + 1;
      chunks.push(firstChunk(this.identity, choice));
    }
    const said = eventChunk(this.identity, choice, event);
    if (said !== null) chunks.push(said);
    if (event.type === 'finish') this.#finish = addFinish(this.#finish, event);
    return chunks.map(dataEvent);
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
}
