// Keeps text of users and tools from becoming control tokens, while the template's own literals do.
//
// A control token is found in a rendered prompt by its spelling. So in every text that isn't the
// template's, a mark is set behind each character a control token can begin with and before each it
// can end with: neither the text alone nor the text beside a literal can then complete a spelling. Where
// the template has a literal that breaks off inside a spelling ('<' + name + '>'), a text that would
// fill the gap ("think") gets a mark at its front, too. After rendering, intact spellings are the template's; marks are taken out, and what is
// left is encoded as plain text, so that ordinary prompts tokenise as if nothing had happened.
// The mark is a private-use character that occurs nowhere in the conversation: it is no whitespace
// (templates trim), JSON leaves it alone (templates print tools as JSON), and nothing can forge it.

import { FlashmoeError } from '../base/errors.js';
import { isObject } from './model-files.js';
import { textPieces, type EncodedPiece } from './text-pieces.js';
import type { Tokenizer } from './tokenizer-types.js';

const PRIVATE_USE: readonly (readonly [number, number])[] = [
  [0xe000, 0xf8ff],
  [0xf0000, 0xffffd],
  [0x100000, 0x10fffd],
];

/** The spellings of a tokenizer's control tokens, as one template uses them. */
export class ControlText {
  readonly #ids: ReadonlyMap<string, number>;
  readonly #spelling: RegExp;
  readonly #edges: RegExp;
  readonly #firsts: ReadonlySet<string>;
  readonly #lasts: ReadonlySet<string>;
  /** What could stand behind a literal that breaks off inside a spelling. */
  readonly #gaps: readonly string[];

  constructor(
    private readonly tokenizer: Tokenizer,
    templateSource: string,
  ) {
    // A mark can't stand inside one character; no known tokenizer has such a control token.
    const tokens = tokenizer.controlTokens.filter((token) => [...token.content].length > 1);
    const contents = tokens.map((token) => token.content).sort((a, b) => b.length - a.length);
    this.#ids = new Map(tokens.map((token) => [token.content, token.id]));
    this.#firsts = new Set(contents.map((content) => [...content][0] ?? ''));
    this.#lasts = new Set(contents.map((content) => [...content].at(-1) ?? ''));
    this.#spelling = anyOf(contents);
    this.#edges = anyOf([...this.#firsts, ...this.#lasts]);
    this.#gaps = gaps(contents, templateSource);
  }

  /** Ids of a rendered prompt: intact spellings become control tokens, all else is plain text. */
  encode(rendered: string, mark: string): number[] {
    return [...this.encodePieces(rendered, mark)].flatMap(({ ids }) => ids);
  }

  /** The same piece by piece, so that whoever waits for it can stop; with the characters read so far. */
  *encodePieces(rendered: string, mark: string): Generator<EncodedPiece, void> {
    let from = 0;
    const { tokenizer } = this;
    function* text(end: number): Generator<EncodedPiece, void> {
      for (const piece of textPieces(rendered.slice(from, end).replaceAll(mark, ''))) {
        yield { ids: tokenizer.encodeText(piece), characters: piece.length };
      }
    }
    for (const match of rendered.matchAll(this.#spelling)) {
      yield* text(match.index);
      yield { ids: [this.#ids.get(match[0]) ?? 0], characters: match[0].length };
      from = match.index + match[0].length;
    }
    yield* text(rendered.length);
  }

  /** The control token that `rendered` has at `position`, whitespace skipped. */
  tokenAt(rendered: string, position: number): number | null {
    const rest = rendered.slice(position).trimStart();
    const match =
      this.#spelling === null ? null : [...rest.slice(0, 256).matchAll(this.#spelling)][0];
    return match?.index === 0 ? (this.#ids.get(match[0]) ?? null) : null;
  }

  /** A deep copy of JSON data with marks in all strings and keys. */
  mark<T>(value: T, mark: string): T {
    if (typeof value === 'string') return this.#markText(value, mark) as T;
    if (Array.isArray(value)) return value.map((item: unknown) => this.mark(item, mark)) as T;
    if (!isObject(value)) return value;
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [
        this.#markText(key, mark),
        this.mark(item, mark),
      ]),
    ) as T;
  }

  #markText(text: string, mark: string): string {
    const marked = text.replace(
      this.#edges,
      (char) => (this.#lasts.has(char) ? mark : '') + char + (this.#firsts.has(char) ? mark : ''),
    );
    const core = this.#gaps.length > 0 ? text.trim() : '';
    const fills = core !== '' && this.#gaps.some((gap) => gap.includes(core));
    return fills ? marked.replace(/\S/u, (char) => mark + char) : marked;
  }
}

/** Rests of spellings whose beginnings end a literal of the template, just before an expression. */
function gaps(contents: readonly string[], source: string): string[] {
  const ends = [...source.matchAll(/['"]|\s*\{[{%]/g)].map((match) => source.slice(0, match.index));
  return contents.flatMap((content) =>
    Array.from({ length: content.length - 1 }, (_, i) => i + 1)
      .filter((length) => ends.some((end) => end.endsWith(content.slice(0, length))))
      .map((length) => content.slice(length)),
  );
}

/** A character that occurs in none of the texts. */
export function unusedMark(texts: readonly string[]): string {
  const used = new Set<string>();
  for (const text of texts) {
    for (const [char] of text.matchAll(/\p{Co}/gu)) used.add(char);
  }
  for (const [low, high] of PRIVATE_USE) {
    for (let code = low; code <= high; code++) {
      const char = String.fromCodePoint(code);
      if (!used.has(char)) return char;
    }
  }
  throw new FlashmoeError('ERR_TEMPLATE', 'the messages use every private-use character there is');
}

/** Matches any of the words, the first listed first; nothing at all for an empty list. */
function anyOf(words: readonly string[]): RegExp {
  const escaped = words.map((word) => word.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&'));
  return new RegExp(escaped.length > 0 ? escaped.join('|') : '(?!)', 'gu');
}
