// Conversations that `previous_response_id` can go on from: in memory, the latest ones only.

import type { ChatMessage } from '../../../engine/types.js';
import { ApiError } from '../../api-error.js';

/** Characters of all kept conversations together. */
const MOST_CHARACTERS = 16 * 2 ** 20;

export class ResponseStore {
  /** Oldest first. */
  readonly #kept = new Map<string, { messages: readonly ChatMessage[]; size: number }>();
  #size = 0;

  /** @param limit conversations */
  constructor(private readonly limit = 64) {}

  put(id: string, messages: readonly ChatMessage[]): void {
    const size = JSON.stringify(messages).length;
    this.#kept.set(id, { messages, size });
    this.#size += size;
    for (const [oldest, { size: freed }] of this.#kept) {
      if (this.#kept.size <= this.limit && this.#size <= MOST_CHARACTERS) break;
      this.#kept.delete(oldest);
      this.#size -= freed;
    }
  }

  /** 404 for one that was never here, wasn't to be stored, or had to go. */
  get(id: string): readonly ChatMessage[] {
    const kept = this.#kept.get(id);
    if (kept !== undefined) return kept.messages;
    throw new ApiError(404, `there is no response ${id} here (any more)`, {
      type: 'invalid_request_error',
      param: 'previous_response_id',
      code: 'previous_response_not_found',
    });
  }
}
