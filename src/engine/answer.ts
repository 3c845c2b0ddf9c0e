// One answer's tokens, turned into what a reader gets: reasoning, content and tool calls, and the reason
// why it ended. Pure: token ids in, events out.

import { Detokenizer } from './detokenizer.js';
import { OutputParser, type ParsedOutput, type ParserOptions } from './output-parser.js';
import { StopSequences } from './stop-sequences.js';
import type { Tokenizer } from './tokenizer.js';
import type { FinishReason, GenerateEvent } from './types.js';

export type AnswerEvent = Extract<GenerateEvent, { type: 'text' | 'tool-call' }>;

export interface AnswerOptions extends ParserOptions {
  tokenizer: Tokenizer;
  stopIds: ReadonlySet<number>;
  /** Stop strings: they end the content; reasoning and calls may hold them. */
  stop: readonly string[];
  parallelToolCalls: boolean;
}

/** Special tokens whose text a parser looks for. */
const MARKERS = ['<think>', '</think>', '<tool_call>', '</tool_call>'];

export class Answer {
  readonly #detokenizer: Detokenizer;
  readonly #parser: OutputParser;
  readonly #stops: StopSequences;
  #calls = 0;
  #ended: 'by model' | 'by string' | 'by call' | null = null;

  completionTokens = 0;
  reasoningTokens = 0;
  stopSequence: string | null = null;

  constructor(private readonly options: AnswerOptions) {
    this.#detokenizer = new Detokenizer(options.tokenizer, MARKERS);
    this.#parser = new OutputParser(options);
    this.#stops = new StopSequences(options.stop);
  }

  /** True when no more tokens are wanted. */
  get ended(): boolean {
    return this.#ended !== null;
  }

  push(id: number): AnswerEvent[] {
    this.completionTokens++;
    if (this.#parser.inReasoning) this.reasoningTokens++;
    if (this.options.stopIds.has(id)) {
      this.#ended = 'by model';
      return [];
    }
    return this.#pass(this.#parser.push(this.#detokenizer.push(id)));
  }

  /** What was held back until it was clear that nothing follows. */
  end(): { events: AnswerEvent[]; reason: FinishReason } {
    const events: AnswerEvent[] = [];
    if (this.#ended === null || this.#ended === 'by model') {
      events.push(...this.#pass(this.#parser.end(this.#ended === null)));
    }
    if (this.stopSequence === null) events.push(...content(this.#stops.end()));
    const reason = this.#calls > 0 ? 'tool_calls' : this.#ended === null ? 'length' : 'stop';
    return { events, reason };
  }

  #pass(parsed: readonly ParsedOutput[]): AnswerEvent[] {
    const events: AnswerEvent[] = [];
    for (const part of parsed) {
      if (part.type === 'tool-call') {
        events.push(...content(this.#stops.end()));
        events.push({ type: 'tool-call', index: this.#calls++, call: part.call });
        if (!this.options.parallelToolCalls) {
          this.#ended = 'by call';
          break;
        }
      } else if (part.channel === 'reasoning') {
        events.push(part);
      } else {
        const { text, stopped } = this.#stops.push(part.text);
        events.push(...content(text));
        if (stopped !== null) {
          this.stopSequence = stopped;
          this.#ended = 'by string';
          break;
        }
      }
    }
    return events;
  }
}

function content(text: string): AnswerEvent[] {
  return text === '' ? [] : [{ type: 'text', channel: 'content', text }];
}
