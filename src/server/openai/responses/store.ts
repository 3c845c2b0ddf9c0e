// Responses that were given: what `previous_response_id` and `item_reference` can go on from. In memory, the latest
// ones only.

import type { ChatMessage } from '../../../engine/types.js';
import { ApiError } from '../../api-error.js';

/** Characters of all kept responses together. */
const MOST_CHARACTERS = 16 * 2 ** 20;

interface Kept {
  /** The conversation, this answer included. */
  messages: readonly ChatMessage[];
  /** As the client got it. */
  response: unknown;
  itemIds: readonly string[];
  size: number;
}

export class ResponseStore {
  /** Oldest first. */
  readonly #kept = new Map<string, Kept>();
  readonly #items = new Map<string, unknown>();
  #size = 0;

  /** @param limit responses */
  constructor(private readonly limit = 64) {}

  put(id: string, messages: readonly ChatMessage[], response: unknown): void {
    const size = JSON.stringify([messages, response]).length;
    const items = outputOf(response);
    for (const item of items) this.#items.set(item.id, item);
    this.#kept.set(id, { messages, response, itemIds: items.map((item) => item.id), size });
    this.#size += size;
    for (const [oldest, { size: freed, itemIds }] of this.#kept) {
      if (this.#kept.size <= this.limit && this.#size <= MOST_CHARACTERS) break;
      this.#kept.delete(oldest);
      for (const itemId of itemIds) this.#items.delete(itemId);
      this.#size -= freed;
    }
  }

  /** The conversation to go on from. 404 for one that was never here, wasn't to be stored, or had to go. */
  get(id: string): readonly ChatMessage[] {
    const kept = this.#kept.get(id);
    if (kept !== undefined) return kept.messages;
    throw gone(id, 'previous_response_id', 'previous_response_not_found');
  }

  /** The response as its client got it; 404 as above. */
  response(id: string): unknown {
    const kept = this.#kept.get(id);
    if (kept !== undefined) return kept.response;
    throw gone(id, 'response_id', 'response_not_found');
  }

  /** One item of a response that was given; null when there is none of that id. */
  item(id: string): unknown {
    return this.#items.get(id) ?? null;
  }
}

function outputOf(response: unknown): { id: string }[] {
  const { output } = response as { output?: { id: string }[] };
  return output ?? [];
}

function gone(id: string, param: string, code: string): ApiError {
  return new ApiError(404, `there is no response ${id} here (any more)`, {
    type: 'invalid_request_error',
    param,
    code,
  });
}
