// The language of the texts in which a regular expression of ECMAScript finds something. What isn't regular, or would
// depend on what stands around it, is null.

import { RegExpParser, type AST } from '@eslint-community/regexpp';
import {
  ANY_CHAR,
  charSet,
  complement,
  SPACES,
  union,
  without,
  charsOf,
  type CharSet,
} from './char-set.js';
import type { Language, Languages } from './language.js';

const DIGIT = charSet([[0x30, 0x39]]);
const WORD = charSet([
  [0x30, 0x39],
  [0x41, 0x5a],
  [0x5f, 0x5f],
  [0x61, 0x7a],
]);
const LINE_ENDS = charsOf('\n\r\u2028\u2029');
/** Of the text of a pattern, and of one repetition's count. */
const LONGEST = 4096;
const MOST_REPEATS = 10_000;

class NotRegular extends Error {}

type Element = AST.Element;

/** null for a pattern that can't be read, or isn't regular. */
export function searchedBy(pattern: string, languages: Languages): Language | null {
  if (pattern.length > LONGEST) return null;
  const parsed = parsePattern(pattern);
  if (parsed === null) return null;
  try {
    return new Reader(languages).alternatives(parsed.alternatives, true);
  } catch (thrown) {
    if (thrown instanceof NotRegular) return null;
    throw thrown;
  }
}

/** As Unicode, as JSON Schema wants it; else as most validators would read it too. */
function parsePattern(pattern: string): AST.Pattern | null {
  const parser = new RegExpParser({ ecmaVersion: 2024 });
  for (const unicode of [true, false]) {
    try {
      return parser.parsePattern(pattern, 0, pattern.length, { unicode });
    } catch {
      // Tried in the other way, then told as null.
    }
  }
  return null;
}

class Reader {
  constructor(private readonly languages: Languages) {}

  /** @param whole the pattern's own: what stands before and behind is any text, unless an anchor says otherwise */
  alternatives(alternatives: readonly AST.Alternative[], whole: boolean): Language {
    const { languages } = this;
    return languages.or(
      ...alternatives.map(({ elements }) =>
        whole ? this.#search(elements) : languages.cat(...elements.map((each) => this.#one(each))),
      ),
    );
  }

  #search(elements: readonly Element[]): Language {
    const { languages } = this;
    const spread = this.#spread(elements);
    if (spread !== null) return languages.or(...spread.map((each) => this.#search(each)));
    const [first, ...rest] = elements;
    if (first !== undefined && isAnchor(first, 'start')) return this.#from(rest);
    return languages.cat(languages.all, this.#from(elements));
  }

  /** Of all that follows a place. */
  #from(elements: readonly Element[]): Language {
    const { languages } = this;
    const spread = this.#spread(elements);
    if (spread !== null) return languages.or(...spread.map((each) => this.#from(each)));
    const [first, ...rest] = elements;
    if (first === undefined) return languages.all;
    if (isAnchor(first, 'start')) return this.#from(rest);
    if (isAnchor(first, 'end')) {
      // Behind the end only what is empty fits.
      const behind = languages.and(this.#from(rest), languages.empty);
      return behind.nullable ? languages.empty : languages.none;
    }
    if (first.type === 'Assertion' && first.kind === 'lookahead') {
      const ahead = languages.or(...first.alternatives.map((each) => this.#from(each.elements)));
      const rule = first.negate ? languages.not(ahead) : ahead;
      return languages.and(rule, this.#from(rest));
    }
    return languages.cat(this.#one(first), this.#from(rest));
  }

  /** A group with an assertion in it becomes alternatives of what it stands in. */
  #spread(elements: readonly Element[]): Element[][] | null {
    const at = elements.findIndex((each) => isGroup(each) && hasAssertion(each));
    const group = elements[at];
    if (group === undefined || !isGroup(group)) return null;
    return group.alternatives.map((each) => [
      ...elements.slice(0, at),
      ...each.elements,
      ...elements.slice(at + 1),
    ]);
  }

  #one(element: Element): Language {
    const { languages } = this;
    switch (element.type) {
      case 'Character':
        return languages.set(charSet([[element.value, element.value]]));
      case 'CharacterSet':
      case 'CharacterClass':
        return languages.set(setOf(element));
      case 'Group':
      case 'CapturingGroup':
        return this.alternatives(element.alternatives, false);
      case 'Quantifier': {
        const { min, max } = element;
        if (min > MOST_REPEATS || (max > MOST_REPEATS && max !== Infinity)) throw new NotRegular();
        return languages.repeat(this.#one(element.element), min, max);
      }
      default:
        throw new NotRegular();
    }
  }
}

function isGroup(element: Element): element is AST.Group | AST.CapturingGroup {
  return element.type === 'Group' || element.type === 'CapturingGroup';
}

function isAnchor(element: Element, kind: 'start' | 'end'): boolean {
  return element.type === 'Assertion' && element.kind === kind;
}

function hasAssertion(element: Element): boolean {
  if (element.type === 'Assertion') return true;
  return isGroup(element) && element.alternatives.some((each) => each.elements.some(hasAssertion));
}

function setOf(
  element: AST.CharacterSet | AST.CharacterClass | AST.CharacterClassElement,
): CharSet {
  switch (element.type) {
    case 'Character':
      return charSet([[element.value, element.value]]);
    case 'CharacterClassRange':
      return charSet([[element.min.value, element.max.value]]);
    case 'CharacterClass': {
      const set = union(...element.elements.map((each) => setOf(each)));
      return element.negate ? complement(set) : without(set, complement(ANY_CHAR));
    }
    case 'CharacterSet':
      return escapedSet(element);
    default:
      throw new NotRegular();
  }
}

function escapedSet(element: AST.CharacterSet): CharSet {
  const negated = (set: CharSet, negate: boolean): CharSet => (negate ? complement(set) : set);
  switch (element.kind) {
    case 'any':
      return complement(LINE_ENDS);
    case 'digit':
      return negated(DIGIT, element.negate);
    case 'space':
      return negated(SPACES, element.negate);
    case 'word':
      return negated(WORD, element.negate);
    case 'property':
      return negated(propertySet(element), element.negate);
  }
}

const properties = new Map<string, CharSet>();

/** Asked of the runtime's own tables. */
function propertySet(element: AST.UnicodePropertyCharacterSet): CharSet {
  const { key, value } = element;
  if (element.strings) throw new NotRegular();
  const name = value === null ? key : `${key}=${value}`;
  const known = properties.get(name);
  if (known !== undefined) return known;
  const test = new RegExp(`^\\p{${name}}$`, 'u');
  const ranges: [number, number][] = [];
  for (const [first, last] of ANY_CHAR) {
    for (let code = first; code <= last; code++) {
      if (test.test(String.fromCodePoint(code))) ranges.push([code, code]);
    }
  }
  const set = charSet(ranges);
  properties.set(name, set);
  return set;
}
