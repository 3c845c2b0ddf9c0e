// The Harmony form: an answer is a row of messages, each with a header that names its channel, and its recipient where it
// is a call: `<|channel|>analysis<|message|>…<|end|><|start|>assistant<|channel|>final<|message|>…`. Facts: openai/harmony,
// docs/format.md.

import type { ParsedOutput } from './parsed-output.js';
import { isObject } from './model-files.js';
import { overlap } from './stop-sequences.js';
import type { ToolDefinition } from './types.js';

/** Of a message behind which the answer goes on. */
export const END_MESSAGE = '<|end|>';
export const HARMONY_MARKERS = [
  ...['<|start|>', '<|channel|>', '<|constrain|>', '<|message|>'],
  ...[END_MESSAGE, '<|return|>', '<|call|>'],
];
const MESSAGE = '<|message|>';
/** A message whose end is missing ends where the next one begins. */
const ENDS = ['<|end|>', '<|return|>', '<|call|>', '<|start|>', '<|channel|>'];

type Body = { kind: 'content' | 'reasoning' } | { kind: 'call'; name: string };

export interface HarmonyOptions {
  /** The prompt's text: the answer goes on where it ends. */
  prompt: string;
  tools: readonly ToolDefinition[];
  newCallId: () => string;
}

export class HarmonyParser {
  #held = '';
  /** null: in a header. */
  #body: Body | null = null;

  constructor(private readonly options: HarmonyOptions) {
    const start = options.prompt.lastIndexOf('<|start|>');
    const tail = start < 0 ? '' : options.prompt.slice(start);
    if (tail.includes(MESSAGE)) this.#body = this.#bodyOf(tail.slice(0, tail.indexOf(MESSAGE)));
    else this.#held = tail;
  }

  get inReasoning(): boolean {
    return this.#body?.kind === 'reasoning';
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
    const parsed: ParsedOutput[] = [];
    if (this.#body === null) {
      // A header whose message never began: what the model said in it is not lost.
      const said = rest.replace(
        /<\|start\|>\s*(?:assistant)?|<\|channel\|>\s*(?:analysis|final|commentary)?/g,
        '',
      );
      pass(parsed, 'content', said.replace(/<\|[a-z]+\|>/g, '').trim());
    } else if (this.#body.kind !== 'call') pass(parsed, this.#body.kind, rest);
    else if (!cut) this.#call(this.#body.name, rest, parsed);
    else parsed.push(this.#begin(this.#body.name), { type: 'call-arguments', json: rest });
    return parsed;
  }

  #step(parsed: ParsedOutput[]): boolean {
    const body = this.#body;
    if (body === null) {
      const at = this.#held.indexOf(MESSAGE);
      if (at < 0) return false;
      this.#body = this.#bodyOf(this.#held.slice(0, at));
      this.#held = this.#held.slice(at + MESSAGE.length);
      return true;
    }
    const ends = ENDS.map((tag) => ({ tag, at: this.#held.indexOf(tag) }));
    const [first] = ends.filter(({ at }) => at >= 0).sort((a, b) => a.at - b.at);
    if (first !== undefined) {
      const said = this.#held.slice(0, first.at);
      if (body.kind === 'call') this.#call(body.name, said, parsed);
      else pass(parsed, body.kind, said);
      // What begins a header belongs to it.
      const isHeader = first.tag === '<|start|>' || first.tag === '<|channel|>';
      this.#held = this.#held.slice(first.at + (isHeader ? 0 : first.tag.length));
      this.#body = null;
      return true;
    }
    if (body.kind === 'call') return false;
    const kept = Math.max(...ENDS.map((tag) => overlap(this.#held, tag)));
    const said = this.#held.slice(0, this.#held.length - kept);
    this.#held = this.#held.slice(said.length);
    pass(parsed, body.kind, said);
    return false;
  }

  /** Recipient and channel stand in either order; only a declared function is a call. */
  #bodyOf(header: string): Body {
    const name = /\bto=functions\.([^\s<]+)/.exec(header)?.[1];
    if (name !== undefined && this.options.tools.some((tool) => tool.name === name)) {
      return { kind: 'call', name };
    }
    const channel = /<\|channel\|>\s*([a-z]+)/.exec(header)?.[1];
    return { kind: channel === 'analysis' ? 'reasoning' : 'content' };
  }

  #call(name: string, said: string, parsed: ParsedOutput[]): void {
    const json = argumentsOf(said);
    if (json === null) {
      pass(parsed, 'content', said);
      return;
    }
    parsed.push(this.#begin(name), { type: 'call-arguments', json }, { type: 'call-end' });
  }

  #begin(name: string): ParsedOutput {
    return { type: 'call-begin', id: this.options.newCallId(), name };
  }
}

function pass(parsed: ParsedOutput[], channel: 'content' | 'reasoning', text: string): void {
  if (text !== '') parsed.push({ type: 'text', channel, text });
}

/** The text of a JSON object; null for anything else. None at all is an empty one. */
function argumentsOf(said: string): string | null {
  const text = said.trim();
  if (text === '') return '{}';
  try {
    return isObject(JSON.parse(text)) ? text : null;
  } catch {
    // What is no JSON is no call: the caller shows it as text.
    return null;
  }
}
