// An answer in the words of the Responses API: items one after the other, as events and as one object.

import type { ChatMessage, GenerateEvent } from '../../../engine/types.js';
import type { ApiError } from '../../api-error.js';
import { CollectedAnswer, type FinishEvent } from '../../collected-answer.js';
import type { StreamEncoder } from '../../generation.js';
import { namedEvent } from '../../sse.js';
import { newItem, parsedCalls, type OutputItem } from './items.js';
import { freeText, type OfferedTool } from './tools.js';

/** The parts of a response that the request decides; `id` is the response's own. */
export type ResponseFrame = { id: string } & Record<string, unknown>;

export class ResponsesEncoder implements StreamEncoder {
  readonly #items: OutputItem[] = [];
  readonly #answer = new CollectedAnswer();
  #sequence = 0;
  #open: OutputItem | null = null;
  /** Of the open call. */
  #json = '';

  constructor(
    private readonly frame: ResponseFrame,
    private readonly newId: (prefix: string) => string,
    private readonly tools: readonly OfferedTool[] = [],
  ) {}

  begin(): string[] {
    const response = this.#response('in_progress');
    return [
      this.#say('response.created', { response }),
      this.#say('response.in_progress', { response }),
    ];
  }

  event(_: number, event: GenerateEvent): string[] {
    this.#answer.add(event);
    switch (event.type) {
      case 'text':
        return this.#text(event.channel, event.text);
      case 'tool-call': {
        const { id: callId } = event;
        const tool = this.tools.find(({ definition }) => definition.name === event.name);
        const { name = event.name, namespace = null, kind = 'function' } = tool ?? {};
        const call = { callId, name, namespace };
        this.#json = '';
        return this.#begin(
          kind === 'custom'
            ? newItem('custom_tool_call', this.newId('ctc'), call)
            : newItem('function_call', this.newId('fc'), call),
        );
      }
      case 'tool-arguments': {
        const item = this.#open;
        this.#json += event.json;
        if (item?.type !== 'function_call') return [];
        item.arguments += event.json;
        const name = 'response.function_call_arguments.delta';
        return [this.#say(name, { ...this.#at(item), delta: event.json })];
      }
      case 'finish':
      case 'prefill':
      case 'decode':
      case 'token':
        return [];
    }
  }

  end(): string[] {
    // An answer has a message even when nothing was said.
    const empty =
      this.#items.length === 0 ? this.#begin(newItem('message', this.newId('msg'))) : [];
    const closed = this.#close(this.#isCut() ? 'incomplete' : 'completed');
    const status = this.#isCut() ? 'incomplete' : 'completed';
    return [
      ...empty,
      ...closed,
      this.#say(`response.${status}`, { response: this.#response(status) }),
    ];
  }

  failed(error: ApiError): string[] {
    const { code, type, message } = error.body().error;
    const response = { ...this.#response('failed'), error: { code: code ?? type, message } };
    return [this.#say('response.failed', { response })];
  }

  /** The whole answer, once it has ended. */
  body(): unknown {
    return this.#response(this.#isCut() ? 'incomplete' : 'completed');
  }

  /** The answer as a later request finds it in its history. */
  turn(): ChatMessage {
    const { content, reasoning, calls } = this.#answer;
    const toolCalls = parsedCalls(calls);
    return {
      role: 'assistant',
      content,
      ...(reasoning === '' ? {} : { reasoning }),
      ...(toolCalls.length === 0 ? {} : { toolCalls }),
    };
  }

  #isCut(): boolean {
    return this.#answer.finish?.reason === 'length';
  }

  #text(channel: 'content' | 'reasoning', text: string): string[] {
    const type = channel === 'content' ? 'message' : 'reasoning';
    const opened =
      this.#open?.type === type
        ? []
        : this.#begin(newItem(type, this.newId(type === 'message' ? 'msg' : 'rs')));
    const item = this.#open;
    if (item?.type !== 'message' && item?.type !== 'reasoning') return opened;
    const part = item.content[0];
    if (part !== undefined) part.text += text;
    const delta = { ...this.#at(item), content_index: 0, delta: text };
    return [
      ...opened,
      type === 'message'
        ? this.#say('response.output_text.delta', { ...delta, logprobs: [] })
        : this.#say('response.reasoning_text.delta', delta),
    ];
  }

  #begin(item: OutputItem): string[] {
    const closed = this.#close('completed');
    this.#items.push(item);
    this.#open = item;
    const output_index = this.#items.length - 1;
    if (item.type === 'function_call' || item.type === 'custom_tool_call') {
      return [...closed, this.#say('response.output_item.added', { output_index, item })];
    }
    // The item appears empty; its part comes with an event of its own.
    const added = { ...item, content: [] };
    const part = { ...this.#at(item), content_index: 0, part: item.content[0] };
    return [
      ...closed,
      this.#say('response.output_item.added', { output_index, item: added }),
      this.#say('response.content_part.added', part),
    ];
  }

  #close(status: 'completed' | 'incomplete'): string[] {
    const item = this.#open;
    if (item === null) return [];
    this.#open = null;
    item.status = status;
    const at = this.#at(item);
    const done = (): string =>
      this.#say('response.output_item.done', { output_index: at.output_index, item });
    if (item.type === 'function_call') {
      const { name, arguments: json } = item;
      const whole = { ...at, name, arguments: json };
      return [this.#say('response.function_call_arguments.done', whole), done()];
    }
    if (item.type === 'custom_tool_call') {
      // The text is inside of JSON, so it comes when that is whole.
      const input = (item.input = freeText(this.#json));
      return [
        this.#say('response.custom_tool_call_input.delta', { ...at, delta: input }),
        this.#say('response.custom_tool_call_input.done', { ...at, input }),
        done(),
      ];
    }
    const part = item.content[0];
    const text = part?.text ?? '';
    return [
      item.type === 'message'
        ? this.#say('response.output_text.done', { ...at, content_index: 0, text, logprobs: [] })
        : this.#say('response.reasoning_text.done', { ...at, content_index: 0, text }),
      this.#say('response.content_part.done', { ...at, content_index: 0, part }),
      done(),
    ];
  }

  #at(item: OutputItem): { item_id: string; output_index: number } {
    return { item_id: item.id, output_index: this.#items.indexOf(item) };
  }

  #say(type: string, data: object): string {
    return namedEvent({ type, sequence_number: this.#sequence++, ...data });
  }

  #response(status: string): object {
    const finish = this.#answer.finish;
    return {
      ...this.frame,
      status,
      error: null,
      incomplete_details: status === 'incomplete' ? { reason: 'max_output_tokens' } : null,
      output: this.#items,
      usage: finish === null ? null : wireUsage(finish),
    };
  }
}

function wireUsage({ usage }: FinishEvent): unknown {
  return {
    input_tokens: usage.promptTokens,
    input_tokens_details: { cached_tokens: usage.cachedTokens },
    output_tokens: usage.completionTokens,
    output_tokens_details: { reasoning_tokens: usage.reasoningTokens },
    total_tokens: usage.promptTokens + usage.completionTokens,
  };
}
