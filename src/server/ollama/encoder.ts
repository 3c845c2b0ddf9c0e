// An answer in the words of Ollama's API: a line of JSON for each piece, the figures with the last one.

import type { GenerateEvent } from '../../engine/types.js';
import type { ApiError } from '../api-error.js';
import { CollectedAnswer, type FinishEvent } from '../collected-answer.js';
import type { StreamEncoder } from '../generation.js';

export class OllamaEncoder implements StreamEncoder {
  readonly #answer = new CollectedAnswer();
  /** Calls that were told of. */
  #told = 0;

  /**
   * @param kind what the text is called: `message` of a chat, `response` of a generation
   * @param startedAt milliseconds since the epoch
   */
  constructor(
    private readonly kind: 'chat' | 'generate',
    private readonly model: string,
    private readonly now: () => number,
    private readonly startedAt: number,
  ) {}

  begin(): string[] {
    return [];
  }

  event(_: number, event: GenerateEvent): string[] {
    // A call is told of in one piece, when the next thing begins.
    const call = event.type === 'tool-arguments' ? [] : this.#calls();
    this.#answer.add(event);
    if (event.type !== 'text') return call;
    const said = event.channel === 'content' ? { content: event.text } : { thinking: event.text };
    return [...call, this.#line(said, {})];
  }

  end(): string[] {
    const { finish } = this.#answer;
    return finish === null ? [] : [...this.#calls(), this.#line({}, this.#last(finish))];
  }

  /** A line that says nothing: there are no comments here. */
  ping(): string {
    return this.#line({}, {});
  }

  failed(error: ApiError): string[] {
    return [`${JSON.stringify({ error: error.message })}\n`];
  }

  body(): unknown {
    const { content, reasoning, calls, finish } = this.#answer;
    const toolCalls = calls.map(wireCall);
    const said = {
      content,
      ...(reasoning === '' ? {} : { thinking: reasoning }),
      ...(toolCalls.length === 0 ? {} : { tool_calls: toolCalls }),
    };
    return this.#object(said, finish === null ? {} : this.#last(finish));
  }

  #calls(): string[] {
    const whole = this.#answer.calls.slice(this.#told);
    this.#told += whole.length;
    return whole.map((call) => this.#line({ tool_calls: [wireCall(call)] }, {}));
  }

  #line(said: Said, last: object): string {
    return `${JSON.stringify(this.#object(said, last))}\n`;
  }

  #object({ content = '', ...further }: Said, last: object): object {
    return {
      model: this.model,
      created_at: new Date(this.now()).toISOString(),
      ...(this.kind === 'chat'
        ? { message: { role: 'assistant', content, ...further } }
        : { response: content, ...further }),
      done: false,
      ...last,
    };
  }

  /** Durations in nanoseconds. */
  #last({ reason, usage, timings }: FinishEvent): object {
    return {
      done: true,
      done_reason: reason === 'length' ? 'length' : 'stop',
      total_duration: Math.round((this.now() - this.startedAt) * 1e6),
      load_duration: 0,
      prompt_eval_count: usage.promptTokens,
      prompt_eval_duration: Math.round(timings.prefillSeconds * 1e9),
      eval_count: usage.completionTokens,
      eval_duration: Math.round(timings.decodeSeconds * 1e9),
    };
  }
}

interface Said {
  content?: string;
  thinking?: string;
  tool_calls?: unknown[];
}

function wireCall({ id, name, json }: { id: string; name: string; json: string }): object {
  return { id, function: { name, arguments: parsed(json) } };
}

/** Arguments that were cut off are no object; the text they got to is better than none. */
function parsed(json: string): unknown {
  try {
    return JSON.parse(json) as unknown;
  } catch {
    return { unfinished_arguments: json };
  }
}
