// Tool calls written as markup: a head that names the function, then for each argument a tag with its key and text up to a
// closing tag. Values are not escaped, so a call ends only outside of a value.

import type { ToolDefinition } from '../types.js';
import { ArgumentsJson } from './arguments-json.js';
import type { CallPart, CallReader } from './call-reader.js';

/** How one family writes them. Expressions are matched at the start of what follows the call's opening tag. */
export interface Markup {
  /** The function's name in its first group that matched; what follows it must have arrived. */
  head: RegExp;
  /** An argument's opening; the key in its first group that matched. */
  key: RegExp;
  /** What a value may begin with that is no part of it. */
  lead?: RegExp;
  /** Any of these ends a value; the first is the right one and is swallowed. */
  valueEnds: readonly [string, ...string[]];
  close: string;
  /** Whether the opening says that its value is text, or JSON; null where the schema decides. */
  isText?: (opening: string) => boolean | null;
  /** Heads that ran into their first key are split behind a declared name at this. */
  glued?: string;
}

export class MarkupCallReader implements CallReader {
  #state: 'head' | 'between' | 'value' | 'closed' = 'head';
  #held = '';
  #read = '';
  #json: ArgumentsJson | null = null;
  #key = { name: '', opening: '' };
  rest: string | null = null;
  refused: string | null = null;

  constructor(
    private readonly tools: readonly ToolDefinition[],
    private readonly markup: Markup,
  ) {}

  push(text: string): CallPart[] {
    this.#held += text;
    if (this.#state === 'head') this.#read += text;
    const parts: CallPart[] = [];
    while (this.#step(parts));
    return parts;
  }

  end(cut: boolean): CallPart[] {
    const json = this.#json;
    if (json === null) {
      this.refused = this.#read;
      return [];
    }
    if (cut) return [];
    const parts: CallPart[] = [];
    if (this.#state === 'value') this.#endValue(parts, this.#held, json);
    return [...parts, { type: 'arguments', json: json.end() }];
  }

  #step(parts: CallPart[]): boolean {
    switch (this.#state) {
      case 'head':
        return this.#head(parts);
      case 'between':
        return this.#between(parts);
      case 'value':
        return this.#value(parts);
      case 'closed':
        return false;
    }
  }

  #head(parts: CallPart[]): boolean {
    const { head, close, glued } = this.markup;
    const found = head.exec(this.#held);
    const said = firstGroup(found).trim();
    if (found !== null && said !== '') {
      let name = said;
      this.#held = this.#held.slice(found[0].length);
      if (glued !== undefined && this.#held.startsWith(glued)) {
        name = this.#declaredStart(said);
        this.#key = { name: said.slice(name.length).trim(), opening: '' };
        this.#held = this.#held.slice(glued.length);
        this.#state = 'value';
      } else {
        this.#state = 'between';
      }
      this.#json = new ArgumentsJson(this.tools, name);
      parts.push({ type: 'begin', name, id: null });
      return true;
    }
    const end = this.#held.indexOf(close);
    if (end < 0) return false;
    this.refused = this.#held.slice(0, end + close.length);
    this.#close(end);
    return false;
  }

  /** The longest declared name that `text` begins with; all of it where there is none. */
  #declaredStart(text: string): string {
    const names = this.tools.map(({ name }) => name).filter((name) => text.startsWith(name));
    return names.sort((a, b) => b.length - a.length)[0] ?? text;
  }

  #between(parts: CallPart[]): boolean {
    const { key, close } = this.markup;
    const opening = key.exec(this.#held);
    const end = this.#held.indexOf(close);
    if (opening !== null && (end < 0 || opening.index < end)) {
      this.#key = { name: firstGroup(opening).trim(), opening: opening[0] };
      this.#held = this.#held.slice(opening.index + opening[0].length);
      this.#state = 'value';
      return true;
    }
    if (end < 0) return false;
    parts.push({ type: 'arguments', json: this.#json?.end() ?? '' });
    this.#close(end);
    return false;
  }

  #value(parts: CallPart[]): boolean {
    const json = this.#json;
    if (json === null) return false;
    const { valueEnds } = this.markup;
    const ends = valueEnds
      .map((tag) => ({ tag, at: this.#held.indexOf(tag) }))
      .filter(({ at }) => at >= 0)
      .sort((a, b) => a.at - b.at);
    const [found] = ends;
    if (found === undefined) return false;
    this.#endValue(parts, this.#held.slice(0, found.at), json);
    const isRight = found.tag === valueEnds[0];
    this.#held = this.#held.slice(found.at + (isRight ? found.tag.length : 0));
    this.#state = 'between';
    return true;
  }

  #endValue(parts: CallPart[], said: string, json: ArgumentsJson): void {
    const { lead, isText } = this.markup;
    const text = lead === undefined ? said : said.replace(lead, '');
    const { name, opening } = this.#key;
    const isDeclared = isText?.(opening) ?? null;
    const isOpen = isDeclared === false || (isDeclared === null && json.types(name).size === 0);
    if (isOpen) parts.push({ type: 'arguments', json: json.key(name) + jsonOf(text) });
    else if (isDeclared === true) {
      parts.push({ type: 'arguments', json: json.key(name) + JSON.stringify(text) });
    } else parts.push({ type: 'arguments', json: json.fromText(name, text) });
  }

  #close(at: number): void {
    this.rest = this.#held.slice(at + this.markup.close.length);
    this.#state = 'closed';
  }
}

/** Where nothing is declared: JSON if it is JSON, else text. */
function jsonOf(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text) as unknown);
  } catch {
    // No JSON: it was meant as text.
    return JSON.stringify(text);
  }
}

function firstGroup(match: RegExpExecArray | null): string {
  return match?.slice(1).find((group) => group !== undefined) ?? '';
}
