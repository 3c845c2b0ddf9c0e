// A model's text, split while it arrives into reasoning, content and tool calls. Which markers mean
// what is decided by the text of the chat template, never by the model's name.

import { isFunctionXmlClosed, readFunctionXml } from './function-xml.js';
import { overlap } from './stop-sequences.js';
import type { ToolCall, ToolDefinition } from './types.js';

const THINK = '<think>';
const END_THINK = '</think>';
const CALL = '<tool_call>';
const END_CALL = '</tool_call>';

export interface OutputFormat {
  /** The template knows a thinking part. */
  reasoning: boolean;
  /** The form of tool calls, if it is one that is read here. */
  calls: 'function-xml' | null;
}

export function outputFormat(template: string): OutputFormat {
  return {
    reasoning: template.includes(END_THINK),
    calls:
      template.includes(CALL) && template.includes('<function=') && template.includes('<parameter=')
        ? 'function-xml'
        : null,
  };
}

export type ParsedOutput =
  | { type: 'text'; channel: 'content' | 'reasoning'; text: string }
  | { type: 'tool-call'; call: ToolCall };

export interface ParserOptions {
  format: OutputFormat;
  /** The prompt's text: where it ends with an open thinking tag, the answer begins inside it. */
  prompt: string;
  /** Without any, call tags are text. */
  tools: readonly ToolDefinition[];
  newCallId: () => string;
}

export class OutputParser {
  /** start: nothing but whitespace so far, so a thinking tag may still be the model's first word. */
  #state: 'start' | 'reasoning' | 'content' | 'call';
  #held = '';
  /** The next text of the channel follows a tag, so whitespace before it is dropped. */
  #atStart = false;
  /** Some models say the opening tag once more although the prompt ends with it. */
  #mayRepeatTag: boolean;
  /** Of an open call's text, up to here no closing tag was found. */
  #searched = 0;
  readonly #readsCalls: boolean;

  constructor(private readonly options: ParserOptions) {
    this.#readsCalls = options.format.calls !== null && options.tools.length > 0;
    const thinking = options.format.reasoning && /<think>\s*$/.test(options.prompt);
    this.#state = thinking ? 'reasoning' : options.format.reasoning ? 'start' : 'content';
    this.#atStart = thinking;
    this.#mayRepeatTag = thinking;
  }

  get inReasoning(): boolean {
    return this.#state === 'reasoning';
  }

  push(text: string): ParsedOutput[] {
    this.#held += text;
    const parsed: ParsedOutput[] = [];
    while (this.#step(parsed));
    return parsed;
  }

  /** @param cut the output ended at a limit, not by the model: then an open call isn't one */
  end(cut: boolean): ParsedOutput[] {
    const rest = this.#held;
    this.#held = '';
    if (this.#state === 'call') {
      const call = cut ? null : this.#readCall(rest.replace(END_CALL, ''));
      return [call ?? content(CALL + rest)];
    }
    if (rest === '' || (this.#atStart && rest.trim() === '')) return [];
    return [text(this.#state === 'reasoning' ? 'reasoning' : 'content', rest)];
  }

  /** One transition on what is held; false when more text is needed. */
  #step(parsed: ParsedOutput[]): boolean {
    switch (this.#state) {
      case 'start':
        return this.#start();
      case 'reasoning':
        return this.#reasoning(parsed);
      case 'content':
        return this.#content(parsed);
      case 'call':
        return this.#call(parsed);
    }
  }

  #start(): boolean {
    const first = this.#held.trimStart();
    if (first.startsWith(THINK)) {
      this.#held = first.slice(THINK.length);
      this.#enter('reasoning');
      return true;
    }
    if (THINK.startsWith(first)) return false;
    this.#state = 'content';
    return true;
  }

  #reasoning(parsed: ParsedOutput[]): boolean {
    if (this.#mayRepeatTag) {
      const first = this.#held.trimStart();
      if (first.startsWith(THINK)) this.#held = first.slice(THINK.length);
      else if (THINK.startsWith(first)) return false;
      this.#mayRepeatTag = false;
    }
    const ends = this.#readsCalls ? [END_THINK, CALL] : [END_THINK];
    const found = this.#passUntil(ends, 'reasoning', parsed);
    if (found === null) return false;
    this.#enter(found === CALL ? 'call' : 'content');
    return true;
  }

  #content(parsed: ParsedOutput[]): boolean {
    if (!this.#readsCalls) {
      this.#emit(parsed, 'content', this.#held, '');
      return false;
    }
    if (this.#passUntil([CALL], 'content', parsed) === null) return false;
    this.#enter('call');
    return true;
  }

  #call(parsed: ParsedOutput[]): boolean {
    let at = this.#held.indexOf(END_CALL, this.#searched);
    for (; at >= 0; at = this.#held.indexOf(END_CALL, at + 1)) {
      const body = this.#held.slice(0, at);
      if (!isFunctionXmlClosed(body)) continue;
      this.#held = this.#held.slice(at + END_CALL.length);
      parsed.push(this.#readCall(body) ?? content(CALL + body + END_CALL));
      this.#enter('content');
      return true;
    }
    this.#searched = Math.max(0, this.#held.length - END_CALL.length);
    return false;
  }

  /**
   * Passes text on up to the first marker and returns that marker. Without one, holds back what may
   * become one and the whitespace before it, which belongs to the marker.
   */
  #passUntil(
    markers: readonly string[],
    channel: 'content' | 'reasoning',
    parsed: ParsedOutput[],
  ): string | null {
    let at = this.#held.length;
    let found: string | null = null;
    for (const marker of markers) {
      const index = this.#held.indexOf(marker);
      if (index >= 0 && index < at) [at, found] = [index, marker];
    }
    if (found === null) {
      at -= Math.max(...markers.map((marker) => overlap(this.#held, marker)));
    }
    const before = this.#held.slice(0, at).trimEnd();
    const rest =
      found === null ? this.#held.slice(before.length) : this.#held.slice(at + found.length);
    this.#emit(parsed, channel, before, rest);
    return found;
  }

  #emit(
    parsed: ParsedOutput[],
    channel: 'content' | 'reasoning',
    said: string,
    rest: string,
  ): void {
    const passed = this.#atStart ? said.trimStart() : said;
    if (passed !== '') {
      parsed.push(text(channel, passed));
      this.#atStart = false;
    }
    this.#held = rest;
  }

  #enter(state: 'reasoning' | 'content' | 'call'): void {
    this.#state = state;
    this.#atStart = true;
    this.#searched = 0;
  }

  #readCall(body: string): ParsedOutput | null {
    const call = readFunctionXml(body, this.options.tools);
    if (call === null) return null;
    return { type: 'tool-call', call: { id: this.options.newCallId(), ...call } };
  }
}

function text(channel: 'content' | 'reasoning', said: string): ParsedOutput {
  return { type: 'text', channel, text: said };
}

function content(said: string): ParsedOutput {
  return text('content', said);
}
