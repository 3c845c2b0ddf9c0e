// One answer's tokens, turned into what a reader gets: reasoning, content and tool calls, and the reason
// why it ended. Pure: token ids in, events out.

import { ContentLogprobs } from './content-logprobs.js';
import { Detokenizer } from './detokenizer.js';
import { newParser, type ParsedOutput, type Parser, type ParserOptions } from './output-parser.js';
import { StopSequences } from './stop-sequences.js';
import type { Vocabulary } from './tokenizer-types.js';
import type { FinishReason, GenerateEvent, TokenLogprob } from './types.js';

export type AnswerEvent = Extract<GenerateEvent, { type: 'text' | 'tool-call' | 'tool-arguments' }>;

export interface AnswerOptions extends ParserOptions {
  tokenizer: Vocabulary;
  stopIds: ReadonlySet<number>;
  /** Stop strings: they end the content; reasoning and calls may hold them. */
  stop: readonly string[];
  parallelToolCalls: boolean;
}

export class Answer {
  readonly #detokenizer: Detokenizer;
  readonly #parser: Parser;
  readonly #stops: StopSequences;
  #calls = 0;
  #callIsOpen = false;
  readonly #logprobs = new ContentLogprobs();
  /** Tokens told of too late for the piece of content that they are in. */
  #late: TokenLogprob[] = [];
  #ended: 'by model' | 'by string' | 'by call' | null = null;

  completionTokens = 0;
  reasoningTokens = 0;
  stopSequence: string | null = null;

  constructor(private readonly options: AnswerOptions) {
    this.#detokenizer = new Detokenizer(options.tokenizer, options.format.markers);
    this.#parser = newParser(options);
    this.#stops = new StopSequences(options.stop);
  }

  /** True when no more tokens are wanted. */
  get ended(): boolean {
    return this.#ended !== null;
  }

  /** Inside the thinking part. */
  get inReasoning(): boolean {
    return this.#parser.inReasoning;
  }

  push(id: number, logprob: TokenLogprob | null = null): AnswerEvent[] {
    this.completionTokens++;
    if (this.#parser.inReasoning) this.reasoningTokens++;
    if (this.options.stopIds.has(id)) {
      this.#ended = 'by model';
      return [];
    }
    const isContent = !this.#parser.inReasoning && !this.#callIsOpen;
    if (isContent && logprob !== null && !this.#detokenizer.hides(id)) this.#logprobs.add(logprob);
    return this.#pass(this.#parser.push(this.#detokenizer.push(id)));
  }

  /** What was held back until it was clear that nothing follows. */
  end(): { events: AnswerEvent[]; reason: FinishReason; logprobs: TokenLogprob[] } {
    const events: AnswerEvent[] = [];
    if (this.#ended === null || this.#ended === 'by model') {
      events.push(...this.#pass(this.#parser.end(this.#ended === null)));
    }
    if (this.stopSequence === null) events.push(...this.#content(this.#stops.end()));
    this.#late.push(...this.#logprobs.drop());
    return { events, reason: this.#reason(), logprobs: this.#late };
  }

  #reason(): FinishReason {
    if (this.#calls > 0 && !this.#callIsOpen) return 'tool_calls';
    return this.#ended === null ? 'length' : 'stop';
  }

  #pass(parsed: readonly ParsedOutput[]): AnswerEvent[] {
    const events: AnswerEvent[] = [];
    for (const part of parsed) {
      if (part.type !== 'text') {
        events.push(...this.#passCall(part));
      } else if (part.channel === 'reasoning') {
        this.#late.push(...this.#logprobs.drop());
        events.push(part);
      } else {
        const { text, stopped } = this.#stops.push(part.text);
        events.push(...this.#content(text));
        if (stopped !== null) {
          this.stopSequence = stopped;
          this.#ended = 'by string';
        }
      }
      if (this.#ended !== null && this.#ended !== 'by model') break;
    }
    return events;
  }

  #passCall(part: Exclude<ParsedOutput, { type: 'text' }>): AnswerEvent[] {
    switch (part.type) {
      case 'call-begin': {
        const { id, name } = part;
        this.#callIsOpen = true;
        const before = this.#content(this.#stops.end());
        this.#late.push(...this.#logprobs.drop());
        return [...before, { type: 'tool-call', index: this.#calls++, id, name }];
      }
      case 'call-arguments':
        return [{ type: 'tool-arguments', index: this.#calls - 1, json: part.json }];
      case 'call-end':
        this.#callIsOpen = false;
        if (!this.options.parallelToolCalls) this.#ended = 'by call';
        return [];
    }
  }

  #content(text: string): AnswerEvent[] {
    if (text === '') return [];
    const logprobs = this.#logprobs.pass(text);
    return [
      { type: 'text', channel: 'content', text, ...(logprobs.length > 0 ? { logprobs } : {}) },
    ];
  }
}
