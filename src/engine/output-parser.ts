// A model's text, split while it arrives into reasoning, content and tool calls. Which markers mean
// what is decided by the text of the chat template, never by the model's name.

import { callForm, type CallForm } from './calls/form.js';
import type { CallPart, CallReader } from './calls/call-reader.js';
import { END_MESSAGE, HARMONY_MARKERS, HarmonyParser } from './harmony-parser.js';
import type { ParsedOutput, Parser } from './parsed-output.js';
import { overlap } from './stop-sequences.js';
import type { ToolDefinition } from './types.js';

export type { ParsedOutput, Parser } from './parsed-output.js';

const THINK = '<think>';
export const END_THINK = '</think>';

export interface OutputFormat {
  /** The template knows a thinking part. */
  reasoning: boolean;
  /** The form of tool calls, if it is one that is read here. */
  calls: CallForm | null;
  /** Tokens whose text a parser looks for. */
  markers: readonly string[];
  /** What the model ends a thought with, and tokens that no thought may hold while an answer is held to a grammar. */
  endOfThought: string;
  notInThoughts: readonly string[];
}

/** The parser of the format. */
export function newParser(options: ParserOptions): Parser {
  return options.format.calls?.name === 'harmony'
    ? new HarmonyParser(options)
    : new OutputParser(options);
}

export function outputFormat(template: string): OutputFormat {
  const calls = callForm(template);
  if (calls?.name === 'harmony') {
    const notInThoughts = HARMONY_MARKERS.filter((marker) => marker !== END_MESSAGE);
    const markers = HARMONY_MARKERS;
    return { reasoning: true, calls, markers, endOfThought: END_MESSAGE, notInThoughts };
  }
  return {
    endOfThought: END_THINK,
    notInThoughts: [],
    reasoning: template.includes(END_THINK),
    calls,
    markers: [THINK, END_THINK, ...(calls?.markers ?? [])],
  };
}

export interface ParserOptions {
  format: OutputFormat;
  /** The prompt's text: where it ends with an open thinking tag, the answer begins inside it. */
  prompt: string;
  /** The prompt ends inside of content: its next characters are content, whitespace too. */
  goesOn?: boolean;
  /** Without any, call tags are text. */
  tools: readonly ToolDefinition[];
  newCallId: () => string;
}

export class OutputParser implements Parser {
  /** start: nothing but whitespace so far, so a thinking tag may still be the model's first word. */
  #state: 'start' | 'reasoning' | 'content' | 'section' | 'call';
  #held = '';
  /** The next text of the channel follows a tag, so whitespace before it is dropped. */
  #atStart = false;
  /** Some models say the opening tag once more although the prompt ends with it. */
  #mayRepeatTag: boolean;
  /** Reads the open call. */
  #call: CallReader | null = null;
  readonly #form: CallForm | null;

  constructor(private readonly options: ParserOptions) {
    this.#form = options.tools.length > 0 ? options.format.calls : null;
    const thinking =
      options.goesOn !== true && options.format.reasoning && /<think>\s*$/.test(options.prompt);
    const otherwise = options.format.reasoning && options.goesOn !== true ? 'start' : 'content';
    this.#state = thinking ? 'reasoning' : otherwise;
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

  /** @param cut the output ended at a limit, not by the model: then an open call stays unfinished */
  end(cut: boolean): ParsedOutput[] {
    const rest = this.#held;
    this.#held = '';
    if (this.#call !== null) {
      const parsed: ParsedOutput[] = [];
      this.#passCall(this.#call.end(cut), parsed);
      if (this.#call.refused !== null) parsed.push(this.#refused(this.#call.refused));
      else if (!cut) parsed.push({ type: 'call-end' });
      return parsed;
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
      case 'section':
        return this.#section();
      case 'call':
        return this.#inCall(parsed);
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
    const found = this.#passUntil([END_THINK, ...this.#openings()], 'reasoning', parsed);
    if (found === null) return false;
    if (found === END_THINK) this.#enter('content');
    else this.#open(found);
    return true;
  }

  #content(parsed: ParsedOutput[]): boolean {
    if (this.#form === null) {
      this.#emit(parsed, 'content', this.#held, '');
      return false;
    }
    const found = this.#passUntil(this.#openings(), 'content', parsed);
    if (found === null) return false;
    this.#open(found);
    return true;
  }

  /** Between calls of a section; text that is none of its tags ends it. */
  #section(): boolean {
    const first = this.#held.trimStart();
    const { open = '', section = null, sectionToo } = this.#form ?? {};
    const tags = [
      open,
      section?.close ?? '',
      ...(sectionToo === undefined ? [] : [sectionToo.close]),
    ];
    const tag = tags.find((each) => first.startsWith(each));
    if (tag !== undefined) {
      this.#held = first.slice(tag.length);
      if (tag === open) this.#open(open);
      else this.#enter('content');
      return true;
    }
    if (tags.some((each) => each.startsWith(first))) return false;
    this.#enter('content');
    return true;
  }

  #inCall(parsed: ParsedOutput[]): boolean {
    const call = this.#call;
    if (call === null) return false;
    const said = this.#held;
    this.#held = '';
    this.#passCall(call.push(said), parsed);
    if (call.rest === null) return false;
    parsed.push(call.refused === null ? { type: 'call-end' } : this.#refused(call.refused));
    this.#held = call.rest;
    this.#call = null;
    this.#enter((this.#form?.section ?? null) === null ? 'content' : 'section');
    return true;
  }

  #passCall(parts: readonly CallPart[], parsed: ParsedOutput[]): void {
    for (const part of parts) {
      parsed.push(
        part.type === 'begin'
          ? { type: 'call-begin', name: part.name, id: part.id ?? this.options.newCallId() }
          : { type: 'call-arguments', json: part.json },
      );
    }
  }

  /** No text is ever dropped: what was no call is content, tag and all. */
  #refused(said: string): ParsedOutput {
    return text('content', (this.#form?.open ?? '') + said);
  }

  #openings(): string[] {
    if (this.#form === null) return [];
    const { open, section, sectionToo } = this.#form;
    const also = sectionToo === undefined ? [] : [sectionToo.open];
    return section === null ? [open] : [section.open, ...also, open];
  }

  #open(tag: string): void {
    const form = this.#form;
    const begins = tag === form?.open;
    this.#enter(begins ? 'call' : 'section');
    this.#call = begins ? form.reader(this.options.tools) : null;
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

  #enter(state: 'reasoning' | 'content' | 'section' | 'call'): void {
    this.#state = state;
    this.#atStart = true;
  }
}

function text(channel: 'content' | 'reasoning', said: string): ParsedOutput {
  return { type: 'text', channel, text: said };
}
