// Reads the text of one JSON object a character at a time and tells of each member when it is complete.
// Tags inside its strings are text. Small models write bare line breaks into strings; those are escaped.

/** A member's key and the text of its value; false when the value can't be used. */
export type OnMember = (key: string, json: string) => boolean;

type State = 'before' | 'key' | 'colon' | 'value' | 'next' | 'done' | 'broken';

export class JsonObjectReader {
  #state: State = 'before';
  #text = '';
  #key = '';
  #depth = 0;
  #inString = false;
  #escape = false;
  #nested: JsonObjectReader | null = null;
  #first = true;

  /** @param nested tells the members of the object that is the value of `key` one by one, instead of all at once */
  constructor(
    private readonly onMember: OnMember,
    private readonly nested: { key: string; onMember: OnMember } | null = null,
  ) {}

  /** Done with the closing brace, broken with the first character that can't be. */
  take(char: string): 'more' | 'done' | 'broken' {
    this.#state = this.#next(char);
    return this.#state === 'done' || this.#state === 'broken' ? this.#state : 'more';
  }

  #next(char: string): State {
    switch (this.#state) {
      case 'before':
        if (isSpace(char)) return 'before';
        return char === '{' ? 'key' : 'broken';
      case 'key':
        return this.#inKey(char);
      case 'colon':
        if (isSpace(char)) return 'colon';
        this.#text = '';
        return char === ':' ? 'value' : 'broken';
      case 'value':
        return this.#inValue(char);
      case 'next':
        if (isSpace(char)) return 'next';
        this.#text = '';
        return char === ',' ? 'key' : char === '}' ? 'done' : 'broken';
      case 'done':
      case 'broken':
        return 'broken';
    }
  }

  #inKey(char: string): State {
    if (this.#text === '') {
      if (isSpace(char)) return 'key';
      if (char === '}' && this.#first) return 'done';
      if (char !== '"') return 'broken';
    }
    this.#first = false;
    if (!this.#collect(char)) return 'key';
    const key = parsed(this.#text);
    if (typeof key !== 'string') return 'broken';
    this.#key = key;
    return 'colon';
  }

  #inValue(char: string): State {
    if (this.#nested !== null) {
      const state = this.#nested.take(char);
      if (state === 'done') this.#nested = null;
      return state === 'more' ? 'value' : state === 'done' ? 'next' : 'broken';
    }
    if (this.#text === '' && isSpace(char)) return 'value';
    if (this.#text === '' && char === '{' && this.nested?.key === this.#key) {
      this.#nested = new JsonObjectReader(this.nested.onMember);
      this.#nested.take(char);
      return 'value';
    }
    const outside = this.#depth === 0 && !this.#inString && this.#text !== '';
    // A bare word or number ends with what follows it.
    if (outside && (char === ',' || char === '}' || isSpace(char))) {
      return this.#tell() ? this.#after(char) : 'broken';
    }
    if (!this.#collect(char)) return 'value';
    return this.#tell() ? 'next' : 'broken';
  }

  #after(char: string): State {
    this.#state = 'next';
    return this.#next(char);
  }

  #tell(): boolean {
    const text = this.#text;
    return parsed(text) !== undefined && this.onMember(this.#key, text);
  }

  /** Adds a character; true when a string, object or array is complete with it. */
  #collect(char: string): boolean {
    if (this.#inString) {
      this.#text += char < ' ' ? JSON.stringify(char).slice(1, -1) : char;
      if (this.#escape) this.#escape = false;
      else if (char === '\\') this.#escape = true;
      else if (char === '"') this.#inString = false;
      return !this.#inString && this.#depth === 0;
    }
    this.#text += char;
    if (char === '"') this.#inString = true;
    else if (char === '{' || char === '[') this.#depth++;
    else if (char === '}' || char === ']') return --this.#depth <= 0;
    return false;
  }
}

function isSpace(char: string): boolean {
  return char === ' ' || char === '\n' || char === '\r' || char === '\t';
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    // Not JSON: the caller says so with the text.
    return undefined;
  }
}
