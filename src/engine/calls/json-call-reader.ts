// Tool calls whose arguments are JSON: {"name": …, "arguments": {…}} between tags, or the arguments alone
// behind a head that names the function.

import { isObject } from '../model-files.js';
import type { ToolDefinition } from '../types.js';
import { ArgumentsJson } from './arguments-json.js';
import type { CallPart, CallReader } from './call-reader.js';
import { JsonObjectReader } from './json-object.js';

/** Name, and id where there is one, in the text before the arguments; null when there is none. */
export type CallHead = (
  text: string,
  tools: readonly ToolDefinition[],
) => { name: string; id: string | null } | null;

export class JsonCallReader implements CallReader {
  #state: 'head' | 'object' | 'quoted' | 'tail' | 'broken' | 'closed';
  #read = '';
  /** Where in `read` the next character lies, and where the arguments begin. */
  #at = 0;
  #name: { name: string; id: string | null } | null = null;
  #json: ArgumentsJson | null = null;
  /** Members that came before the name did. */
  #early: [string, unknown][] = [];
  #parts: CallPart[] = [];
  #passed = false;
  readonly #object: JsonObjectReader;
  rest: string | null = null;
  refused: string | null = null;

  /** @param head null where the object itself holds the name */
  constructor(
    private readonly tools: readonly ToolDefinition[],
    private readonly close: string,
    private readonly head: CallHead | null,
  ) {
    this.#state = head === null ? 'object' : 'head';
    const argument = (key: string, json: string): boolean => this.#argument(key, json);
    this.#object =
      head === null
        ? new JsonObjectReader((key, json) => this.#member(key, json), {
            key: 'arguments',
            onMember: argument,
          })
        : new JsonObjectReader(argument);
  }

  push(text: string): CallPart[] {
    this.#read += text;
    while (this.#step());
    return this.#take();
  }

  end(cut: boolean): CallPart[] {
    const complete = this.#state === 'tail' || (this.#state === 'head' && !cut && this.#readHead());
    if (complete) this.#finish();
    else if (!this.#passed) this.refused = this.#read;
    else if (this.#state === 'broken') this.#passRaw(this.#read.length);
    return this.#take();
  }

  #step(): boolean {
    switch (this.#state) {
      case 'head':
        return this.#inHead();
      case 'object':
        return this.#inObject();
      case 'quoted':
        return this.#inQuotes();
      case 'tail':
      case 'broken':
        return this.#untilClose();
      case 'closed':
        return false;
    }
  }

  #inHead(): boolean {
    const brace = this.#read.indexOf('{');
    const close = this.#read.indexOf(this.close);
    if (brace < 0 && close < 0) return false;
    const end = brace < 0 || (close >= 0 && close < brace) ? close : brace;
    const before = this.#read.slice(0, end);
    const isQuoted = end === brace && /"\s*$/.test(before);
    const known = this.#readHead(isQuoted ? before.slice(0, before.lastIndexOf('"')) : before);
    this.#at = isQuoted ? before.lastIndexOf('"') : end;
    this.#state = !known ? 'broken' : end === close ? 'tail' : isQuoted ? 'quoted' : 'object';
    return true;
  }

  #readHead(text = this.#read): boolean {
    this.#name = this.head?.(text, this.tools) ?? null;
    return this.#name !== null;
  }

  /** Arguments as the text of a JSON string, as some models have them after a history in that form. */
  #inQuotes(): boolean {
    const close = this.#read.indexOf(this.close, this.#at);
    if (close < 0) return false;
    const inner = unquoted(this.#read.slice(this.#at, close));
    for (const [key, value] of Object.entries(inner ?? {})) this.#offer(key, value);
    this.#at = close;
    this.#state = inner === null ? 'broken' : 'tail';
    return true;
  }

  #inObject(): boolean {
    while (this.#at < this.#read.length) {
      const state = this.#object.take(this.#read.charAt(this.#at++));
      if (state === 'more') continue;
      this.#state = state === 'done' && this.#name !== null ? 'tail' : 'broken';
      return true;
    }
    return false;
  }

  #untilClose(): boolean {
    const at = this.#read.indexOf(this.close, this.#state === 'tail' ? this.#at : 0);
    if (at < 0) return false;
    const end = at + this.close.length;
    if (this.#state === 'tail') this.#finish();
    else if (this.#passed) this.#passRaw(at);
    else this.refused = this.#read.slice(0, end);
    this.rest = this.#read.slice(end);
    this.#state = 'closed';
    return false;
  }

  /** A member of the envelope. */
  #member(key: string, json: string): boolean {
    const value: unknown = JSON.parse(json);
    if (key === 'name' && typeof value === 'string' && value !== '') {
      this.#name = { name: value, id: null };
      for (const [name, early] of this.#early.splice(0)) this.#pass(name, early);
    } else if (key === 'arguments') {
      const inner = typeof value === 'string' ? parsedObject(value) : value === null ? {} : null;
      if (inner === null) return false;
      for (const [name, item] of Object.entries(inner)) this.#offer(name, item);
    }
    return key !== 'name' || this.#name !== null;
  }

  #argument(key: string, json: string): boolean {
    this.#offer(key, JSON.parse(json));
    return true;
  }

  #offer(key: string, value: unknown): void {
    if (this.#name === null) this.#early.push([key, value]);
    else this.#pass(key, value);
  }

  #pass(key: string, value: unknown): void {
    this.#parts.push({ type: 'arguments', json: this.#begin().fromJson(key, value) });
  }

  #begin(): ArgumentsJson {
    const { name, id } = this.#name ?? { name: '', id: null };
    if (this.#json === null) this.#parts.push({ type: 'begin', name, id });
    this.#passed = true;
    return (this.#json ??= new ArgumentsJson(this.tools, name));
  }

  #finish(): void {
    const json = this.#begin();
    this.#parts.push({ type: 'arguments', json: json.end() });
  }

  /** What was announced can't be taken back: the client gets the model's own text and sees that it is no JSON. */
  #passRaw(end: number): void {
    this.#parts.push({ type: 'arguments', json: this.#read.slice(0, end) });
  }

  #take(): CallPart[] {
    return this.#parts.splice(0);
  }
}

function unquoted(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'string' ? parsedObject(value) : null;
  } catch {
    // As below.
    return null;
  }
}

function parsedObject(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = text.trim() === '' ? {} : JSON.parse(text);
    return isObject(value) ? value : null;
  } catch {
    // Text that is no JSON is no call; the caller passes it on as content.
    return null;
  }
}
