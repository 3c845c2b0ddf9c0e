// The tool-call form <function=NAME><parameter=KEY>VALUE</parameter></function>, each tag on its own
// line. Models forget closing tags; those of the last parameter and the function may be missing.

import { overlap } from '../stop-sequences.js';
import type { ToolDefinition } from '../types.js';
import { ArgumentsJson } from './arguments-json.js';
import type { CallPart, CallReader } from './call-reader.js';

const CLOSE = '</tool_call>';
const FUNCTION = /<function=([^>\n]+)>/;
const PARAMETER = /<parameter=([^>\n]+)>/;
/** Each ends a parameter's value. */
export const VALUE_ENDS = ['</parameter>', '\n<parameter=', '\n</function>'];

export class FunctionXmlReader implements CallReader {
  #state: 'name' | 'between' | 'value' | 'closed' = 'name';
  #held = '';
  #read = '';
  #json: ArgumentsJson | null = null;
  /** The open parameter, and whether its value is being passed on as it comes. */
  #key = '';
  #streams = false;
  /** Of `held`, up to here no end of the value was found. */
  #searched = 0;
  rest: string | null = null;
  refused: string | null = null;

  constructor(private readonly tools: readonly ToolDefinition[]) {}

  push(text: string): CallPart[] {
    this.#held += text;
    if (this.#state === 'name') this.#read += text;
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
      case 'name':
        return this.#name(parts);
      case 'between':
        return this.#between(parts);
      case 'value':
        return this.#value(parts);
      case 'closed':
        return false;
    }
  }

  #name(parts: CallPart[]): boolean {
    const opening = FUNCTION.exec(this.#held);
    const close = this.#held.indexOf(CLOSE);
    const name = opening?.[1]?.trim() ?? '';
    if (opening !== null && name !== '' && (close < 0 || opening.index < close)) {
      this.#json = new ArgumentsJson(this.tools, name);
      parts.push({ type: 'begin', name, id: null });
      this.#held = this.#held.slice(opening.index + opening[0].length);
      this.#state = 'between';
      return true;
    }
    if (close < 0) return false;
    this.refused = this.#held.slice(0, close + CLOSE.length);
    this.rest = this.#held.slice(close + CLOSE.length);
    this.#state = 'closed';
    return false;
  }

  #between(parts: CallPart[]): boolean {
    const opening = PARAMETER.exec(this.#held);
    const close = this.#held.indexOf(CLOSE);
    if (opening !== null && (close < 0 || opening.index < close)) {
      this.#key = (opening[1] ?? '').trim();
      this.#streams = false;
      this.#searched = 0;
      this.#held = this.#held.slice(opening.index + opening[0].length);
      this.#state = 'value';
      return true;
    }
    if (close < 0) return false;
    parts.push({ type: 'arguments', json: this.#json?.end() ?? '' });
    this.rest = this.#held.slice(close + CLOSE.length);
    this.#state = 'closed';
    return false;
  }

  #value(parts: CallPart[]): boolean {
    const json = this.#json;
    if (json === null) return false;
    let end = -1;
    for (const tag of VALUE_ENDS) {
      const at = this.#held.indexOf(tag, this.#searched);
      if (at >= 0 && (end < 0 || at < end)) end = at;
    }
    if (end < 0) {
      this.#searched = Math.max(0, this.#held.length - '\n</function>'.length);
      this.#passOn(parts, json);
      return false;
    }
    this.#endValue(parts, this.#held.slice(0, end), json);
    this.#held = this.#held.slice(end);
    this.#state = 'between';
    return true;
  }

  /** Text is passed on as it comes; the other types are known only when the value is complete. */
  #passOn(parts: CallPart[], json: ArgumentsJson): void {
    if (!json.isText(this.#key)) return;
    if (!this.#streams) {
      // A value may still turn out to be `null` or nothing, and its first newline is no part of it.
      if (this.#held === '' || 'null'.startsWith(this.#held.trim().toLowerCase())) return;
      if (VALUE_ENDS.some((tag) => tag.startsWith(this.#held))) return;
      // Also behind `null` an end may come in pieces.
      const behind = /^\s*null\s*(.*)$/is.exec(this.#held)?.[1];
      if (behind !== undefined && VALUE_ENDS.some((tag) => tag.trim().startsWith(behind))) return;
      this.#held = this.#held.replace(/^\n/, '');
      parts.push({ type: 'arguments', json: `${json.key(this.#key)}"` });
      this.#streams = true;
    }
    const kept = Math.max(...VALUE_ENDS.map((tag) => overlap(this.#held, tag)));
    const before = this.#held.slice(0, this.#held.length - kept).replace(/\n$/, '');
    this.#held = this.#held.slice(before.length);
    this.#searched = 0;
    if (before !== '') parts.push({ type: 'arguments', json: escaped(before) });
  }

  #endValue(parts: CallPart[], value: string, json: ArgumentsJson): void {
    const text = value.replace(/\n$/, '');
    const piece = this.#streams
      ? `${escaped(text)}"`
      : json.fromText(this.#key, value.replace(/^\n/, '').replace(/\n$/, ''));
    parts.push({ type: 'arguments', json: piece });
  }
}

function escaped(text: string): string {
  return JSON.stringify(text).slice(1, -1);
}
