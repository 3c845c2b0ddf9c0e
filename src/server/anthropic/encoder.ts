// An answer in the words of the Messages API: blocks one after the other, as events and as one object.

import type { GenerateEvent, Usage } from '../../engine/types.js';
import { anthropicError, type ApiError } from '../api-error.js';
import type { FinishEvent } from '../collected-answer.js';
import type { StreamEncoder } from '../generation.js';
import { namedEvent } from '../sse.js';

type Block =
  | { type: 'text'; text: string }
  | { type: 'thinking'; thinking: string; signature: string }
  | { type: 'tool_use'; id: string; name: string; input: unknown };

export class MessagesEncoder implements StreamEncoder {
  readonly #blocks: Block[] = [];
  #json = '';
  #open = false;
  #finish: FinishEvent | null = null;

  /** @param promptTokens told with the first event; what was cached is known only at the end */
  constructor(
    private readonly id: string,
    private readonly model: string,
    private readonly promptTokens: number,
  ) {}

  begin(): string[] {
    const usage = { promptTokens: this.promptTokens, cachedTokens: 0, completionTokens: 0 };
    const message = { ...this.#message([], null, null), usage: wireUsage(usage) };
    return [namedEvent({ type: 'message_start', message })];
  }

  event(_: number, event: GenerateEvent): string[] {
    switch (event.type) {
      case 'text': {
        const { text } = event;
        if (event.channel === 'content') {
          const opened = this.#enter('text', { type: 'text', text: '' });
          return [...opened, this.#delta({ type: 'text_delta', text })];
        }
        const opened = this.#enter('thinking', { type: 'thinking', thinking: '', signature: '' });
        return [...opened, this.#delta({ type: 'thinking_delta', thinking: text })];
      }
      case 'tool-call':
        return this.#begin({ type: 'tool_use', id: event.id, name: event.name, input: {} });
      case 'tool-arguments':
        return [this.#delta({ type: 'input_json_delta', partial_json: event.json })];
      case 'finish':
        this.#finish = event;
        return [];
      case 'prefill':
      case 'decode':
      case 'token':
        return [];
    }
  }

  end(): string[] {
    const finish = this.#finish;
    if (finish === null) return [];
    // Clients read the first block without looking whether there is one.
    const empty = this.#blocks.length === 0 ? this.#begin({ type: 'text', text: '' }) : [];
    const usage = wireUsage(finish.usage);
    const delta = { stop_reason: stopReason(finish), stop_sequence: finish.stopSequence };
    return [
      ...empty,
      ...this.#close(),
      namedEvent({ type: 'message_delta', delta, usage }),
      namedEvent({ type: 'message_stop' }),
    ];
  }

  failed(error: ApiError): string[] {
    return [namedEvent(anthropicError(error))];
  }

  ping(): string {
    return namedEvent({ type: 'ping' });
  }

  /** The whole answer, once it has ended. */
  body(): unknown {
    const finish = this.#finish;
    if (finish === null) return null;
    return {
      ...this.#message(this.#blocks, stopReason(finish), finish.stopSequence),
      usage: wireUsage(finish.usage),
    };
  }

  #message(content: Block[], reason: string | null, sequence: string | null): object {
    const { id, model } = this;
    return {
      id,
      type: 'message',
      role: 'assistant',
      model,
      content,
      stop_reason: reason,
      stop_sequence: sequence,
    };
  }

  #enter(type: Block['type'], block: Block): string[] {
    return this.#open && this.#blocks.at(-1)?.type === type ? [] : this.#begin(block);
  }

  #begin(block: Block): string[] {
    const closed = this.#close();
    const index = this.#blocks.push(block) - 1;
    this.#open = true;
    this.#json = '';
    return [...closed, namedEvent({ type: 'content_block_start', index, content_block: block })];
  }

  #delta(delta: { type: string; text?: string; thinking?: string; partial_json?: string }): string {
    const block = this.#blocks.at(-1);
    if (block?.type === 'text') block.text += delta.text ?? '';
    if (block?.type === 'thinking') block.thinking += delta.thinking ?? '';
    this.#json += delta.partial_json ?? '';
    return namedEvent({ type: 'content_block_delta', index: this.#blocks.length - 1, delta });
  }

  #close(): string[] {
    if (!this.#open) return [];
    this.#open = false;
    const index = this.#blocks.length - 1;
    const block = this.#blocks[index];
    if (block?.type === 'tool_use') block.input = parsedInput(this.#json);
    const signature = { type: 'signature_delta', signature: '' };
    return [
      ...(block?.type === 'thinking'
        ? [namedEvent({ type: 'content_block_delta', index, delta: signature })]
        : []),
      namedEvent({ type: 'content_block_stop', index }),
    ];
  }
}

/** A call that was cut off has no object; the text it got to is better than none. */
function parsedInput(json: string): unknown {
  try {
    return JSON.parse(json) as unknown;
  } catch {
    return { unfinished_arguments: json };
  }
}

function stopReason({ reason, stopSequence }: FinishEvent): string {
  if (stopSequence !== null) return 'stop_sequence';
  return { stop: 'end_turn', length: 'max_tokens', tool_calls: 'tool_use' }[reason];
}

function wireUsage(usage: Omit<Usage, 'reasoningTokens'>): unknown {
  return {
    input_tokens: usage.promptTokens - usage.cachedTokens,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: usage.cachedTokens,
    output_tokens: usage.completionTokens,
  };
}
