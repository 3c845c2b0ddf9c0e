// Grammars in the library's EBNF for shapes: what a model may write, byte by byte.

import {
  ANY_CHAR,
  charSet,
  charsOf,
  intersection,
  keyOf,
  SPACES,
  without,
  type CharSet,
} from './char-set.js';
import type { Automaton } from './language.js';

/** How characters of a text are written down. */
export type Spelling = (set: CharSet) => string[];

const ESCAPED: Readonly<Record<string, string>> = {
  '"': '\\"',
  '\\': '\\\\',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
};
const ASCII = charSet([[0, 0x7f]]);
const BEYOND = without(ANY_CHAR, ASCII);
const ANY = '([^a] | "a")';
const MOST_SINGLE = 300;
const CONTROL = charSet([[0, 0x1f]]);
const NEVER_PLAIN = charSet([...CONTROL, ...charsOf('"\\')]);
/** Of a set with more characters, escapes by number are left out: nobody writes them. */
const FEW = 4;

export function literal(text: string): string {
  if (text === '') return '""';
  const escaped = Array.from(text, (char) => {
    if (char === '"' || char === '\\') return `\\${char}`;
    const code = char.codePointAt(0) ?? 0;
    if (code >= 0x20 && code < 0x7f) return char;
    return escapedCode(code);
  });
  return `"${escaped.join('')}"`;
}

/**
 * Expressions for one character of a set. The library knows ranges in ASCII only, and beyond it all or single ones: of
 * other sets only the first characters are written, which is less than is allowed. Only blanks may come where all but
 * some are allowed; the check of the whole answer holds to those.
 */
function charOf(set: CharSet): string[] {
  const ascii = intersection(set, ASCII);
  const beyond = intersection(set, BEYOND);
  const isAll = without(without(BEYOND, beyond), SPACES).length === 0;
  if (isAll) return [`[^${rangesOf(without(ASCII, ascii))}]`.replace('[^]', ANY)];
  const result = ascii.length === 0 ? [] : [`[${rangesOf(ascii)}]`];
  for (const [first, last] of beyond) {
    for (let code = first; code <= last && result.length < MOST_SINGLE; code++) {
      result.push(literal(String.fromCodePoint(code)));
    }
  }
  return result;
}

function rangesOf(set: CharSet): string {
  return set
    .map(([first, last]) =>
      first === last ? escapedCode(first) : `${escapedCode(first)}-${escapedCode(last)}`,
    )
    .join('');
}

function escapedCode(code: number): string {
  const hex = code.toString(16);
  return code > 0xffff ? `\\U${hex.padStart(8, '0')}` : `\\u${hex.padStart(4, '0')}`;
}

/** As it stands. */
export const asIs: Spelling = charOf;

/** Inside the quotes of JSON: in every way, for single characters; else as it is usual. */
export const inJson: Spelling = (set) => {
  const result: string[] = [];
  const plain = without(set, NEVER_PLAIN);
  result.push(...charOf(plain));
  for (const [char, escape] of Object.entries(ESCAPED)) {
    if (intersection(set, charsOf(char)).length > 0) result.push(literal(escape));
  }
  if (intersection(set, charsOf('/')).length > 0) result.push(literal('\\/'));
  const count = set.reduce((sum, [first, last]) => sum + last - first + 1, 0);
  if (count > FEW && without(CONTROL, set).length === 0) {
    result.push('"\\\\u00" [01] [0-9a-fA-F]');
    return result;
  }
  const numbered = count <= FEW ? set : intersection(set, CONTROL);
  for (const [first, last] of numbered) {
    for (let code = first; code <= last; code++) result.push(byNumber(code));
  }
  return result;
};

function byNumber(code: number): string {
  const units = Array.from(String.fromCodePoint(code).split(''), (unit) => unit.charCodeAt(0));
  const hex = units.map((unit) => unit.toString(16).padStart(4, '0'));
  const digits = (each: string): string =>
    Array.from(each, (digit) =>
      digit >= 'a' ? `[${digit}${digit.toUpperCase()}]` : literal(digit),
    ).join(' ');
  return hex.map((each) => `"\\\\u" ${digits(each)}`).join(' ');
}

/** Deeper in one rule than this, a state gets a rule of its own. */
const DEEPEST = 24;
const LONG = 60;

/** Rules by name; each is written once. */
export class Rules {
  readonly #rules = new Map<string, string>();
  readonly #spellings = new Map<string, string>();
  #bytes = 0;

  /** @param mostBytes thrown as RangeError beyond it */
  constructor(private readonly mostBytes: number) {}

  /** A name that no rule has yet. */
  reserve(): string {
    const name = `r${this.#rules.size}`;
    this.#rules.set(name, '');
    return name;
  }

  set(name: string, body: string): void {
    this.#bytes += name.length + body.length;
    if (this.#bytes > this.mostBytes) throw new RangeError('the grammar is too large');
    this.#rules.set(name, body);
  }

  add(body: string): string {
    const name = this.reserve();
    this.set(name, body);
    return name;
  }

  text(root: string): string {
    const rules = [...this.#rules].map(([name, body]) => `${name} ::= ${body}`);
    return [`root ::= ${root}`, ...rules].join('\n');
  }

  /** Long ones become rules, since many states have the same. */
  #spelled(set: CharSet, spelling: Spelling): string | null {
    const options = spelling(set);
    if (options.length <= 1) return options[0] ?? null;
    const body = options.join(' | ');
    if (body.length < LONG) return `(${body})`;
    const key = `${spelling === asIs ? 'as is' : 'in json'} ${keyOf(set)}`;
    const known = this.#spellings.get(key) ?? this.add(body);
    this.#spellings.set(key, known);
    return known;
  }

  /** An expression for the texts that an automaton accepts. */
  automaton({ states }: Automaton, spelling: Spelling): string {
    const entries = states.map(() => 0);
    states.forEach(({ next }, from) =>
      next.forEach(({ to }) => {
        if (to !== from) entries[to] = (entries[to] ?? 0) + 1;
      }),
    );
    const names = new Map<number, string>();
    const pending: number[] = [];
    const ruleOf = (at: number): string => {
      const known = names.get(at);
      if (known !== undefined) return known;
      const name = this.reserve();
      names.set(at, name);
      pending.push(at);
      return name;
    };
    const expression = (at: number, depth: number): string => {
      const state = states[at] ?? { accepts: false, next: [] };
      const options: string[] = [];
      let loop = '';
      for (const { set, to } of state.next) {
        const chars = this.#spelled(set, spelling);
        if (chars === null) continue;
        if (to === at) loop = `${chars}*`;
        else if (entries[to] === 1 && depth < DEEPEST) {
          const rest = expression(to, depth + 1);
          options.push(rest === '""' ? chars : `${chars} ${rest}`);
        } else options.push(`${chars} ${ruleOf(to)}`);
      }
      if (state.accepts) options.push('""');
      const rest = options.length === 1 ? (options[0] ?? '') : `(${options.join(' | ')})`;
      if (loop === '') return options.length === 0 ? '[]' : rest;
      return rest === '""' ? loop : `${loop} ${rest}`;
    };
    const first = entries[0] === 0 ? null : ruleOf(0);
    const whole = first ?? expression(0, 0);
    for (let at = pending.shift(); at !== undefined; at = pending.shift()) {
      this.set(names.get(at) ?? '', expression(at, 0));
    }
    return whole;
  }
}
