// Arrays and vectors of a thread's own are registers only while the compiler knows each index; one that it does not know
// moves the whole array to memory. So each index has to be made of constants and of variables of loops that are unrolled.
import { closing, isBlank, SPACES, SubsetError } from './tokens.js';

const UNROLL = /^#\s*pragma\s+unroll\s*$/;
const INTEGERS = new Set(['uint', 'int', 'ulong', 'ushort']);

/** Checks every function of a file's tokens. */
export function checkPrivateIndices(file, tokens) {
  const solid = withoutBlanks(tokens);
  /** Members that point elsewhere: `Structure.member`. */
  const pointers = new Set();
  for (let at = 0, start = 0; at < solid.length; at++) {
    if (solid[at].kind === 'directive' || solid[at].text === ';') start = at + 1;
    if (solid[at].text !== '{') continue;
    const end = closing(solid, at, '{}');
    // The translator says where.
    if (end < 0) return;
    const words = solid.slice(start, at).map((token) => token.text);
    const item = solid.slice(start, end + 1);
    const structure = words[words.indexOf('struct') + 1];
    if (words.includes('(')) new FunctionCheck(file, item, pointers).run();
    else for (const member of namesDeclared(item, (space) => space !== 'thread')) pointers.add(`${structure}.${member}`);
    at = end;
    start = end + 1;
  }
}

/** In a body `]]` closes two subscripts. */
function withoutBlanks(tokens) {
  let attributes = 0;
  return tokens.filter((token) => !isBlank(token)).flatMap((token) => {
    if (token.text === '[[') attributes++;
    if (token.text !== ']]') return [token];
    if (attributes > 0) {
      attributes--;
      return [token];
    }
    return [{ ...token, text: ']' }, { ...token, text: ']' }];
  });
}

class FunctionCheck {
  constructor(file, tokens, pointers) {
    this.file = file;
    this.tokens = tokens;
    this.pointers = pointers;
    this.open = tokens.findIndex((token) => token.text === '{');
    this.others = namesDeclared(tokens, (space) => space !== 'thread');
    this.arrays = privateArrays(tokens, this.others);
  }

  fail(token, message) {
    throw new SubsetError(this.file, token.line, message);
  }

  run() {
    const known = new Set();
    const head = this.tokens.slice(0, this.open).map((token) => token.text);
    for (let i = 0; i < head.length && head[0] === 'template' && head[i] !== '>'; i++) {
      if (head[i] === 'int') known.add(head[i + 1]);
    }
    this.statements(this.open + 1, this.tokens.length - 1, known);
  }

  /** Statements of [from, to); `known` are the names that the compiler knows there. */
  statements(from, to, known) {
    const here = new Set(known);
    for (let i = from; i < to; ) i = this.statement(i, here);
  }

  /** One statement; returns the index after it. */
  statement(i, known) {
    const token = this.tokens[i];
    if (token.kind === 'directive') return this.pragma(i, known);
    if (token.text === '{') {
      const end = closing(this.tokens, i, '{}');
      this.statements(i + 1, end, known);
      return end + 1;
    }
    if (token.text === 'for') return this.loop(i, known, false);
    if (['if', 'while', 'switch'].includes(token.text)) {
      const end = closing(this.tokens, i + 1, '()');
      this.indices(i + 1, end, known);
      return this.statement(end + 1, known);
    }
    if (token.text === 'else') return this.statement(i + 1, known);
    const end = this.endOf(i);
    this.indices(i, end, known);
    this.learn(i, end, known);
    return end + 1;
  }

  /** Of a statement that ends with a semicolon: braces in it are initialisers. */
  endOf(i) {
    let end = i;
    while (this.tokens[end].text !== ';') {
      end = this.tokens[end].text === '{' ? closing(this.tokens, end, '{}') + 1 : end + 1;
    }
    return end;
  }

  pragma(i, known) {
    const token = this.tokens[i];
    if (!UNROLL.test(token.text)) return i + 1;
    if (this.tokens[i + 1].text !== 'for') this.fail(token, '#pragma unroll stands before a for');
    return this.loop(i + 1, known, true);
  }

  loop(i, known, unrolled) {
    const end = closing(this.tokens, i + 1, '()');
    const parts = [[]];
    for (const token of this.tokens.slice(i + 2, end)) {
      if (token.text === ';') parts.push([]);
      else parts.at(-1).push(token);
    }
    const [start, condition, step] = parts;
    const name = start[start.findIndex((token) => token.text === '=') - 1]?.text;
    const inside = new Set(known);
    inside.delete(name);
    if (unrolled) {
      const isCounted = step.map((token) => token.text).join('') === `${name}++` && condition[1]?.text === '<';
      const bounds = [...start.slice(start.findIndex((token) => token.text === '=') + 1), ...condition.slice(2)];
      if (!isCounted || !isKnown(bounds, known)) this.fail(this.tokens[i], '#pragma unroll needs a loop that counts up to a constant');
      inside.add(name);
    }
    this.indices(i + 1, end, known);
    return this.statement(end + 1, inside);
  }

  /** `uint name = …` of what is known is known, too; what changes is not. */
  learn(from, to, known) {
    const words = this.tokens.slice(from, to);
    const at = words.findIndex((token) => /^.?=$|^\+\+$|^--$/.test(token.text));
    if (at < 1) return;
    const isDeclared = words[at].text === '=' && INTEGERS.has(words[at - 2]?.text);
    if (isDeclared && isKnown(words.slice(at + 1), known)) known.add(words[at - 1].text);
    else known.delete(words[at - 1].text);
  }

  /** Every subscript of a private array, and every sum of one with a number, in [from, to). */
  indices(from, to, known) {
    for (let i = from; i < to; i++) {
      const token = this.tokens[i];
      if (token.text === '[' && i > from) this.subscript(i, known);
      if (token.text === '+' && i > from && this.isArray(i - 1)) {
        const end = this.endOfTerm(i + 1);
        if (!isKnown(this.tokens.slice(i + 1, end), known)) this.unknown(this.tokens[i - 1]);
      }
    }
  }

  /** Whether the name at token `i` is a pointer when a number is added to it: members of a reference are taken for arrays. */
  isArray(i) {
    if (this.tokens[i - 1].text === '.') return this.arrays.has(this.rootBefore(i - 1));
    return this.arrays.has(this.tokens[i].text);
  }

  subscript(i, known) {
    // `float name[COUNT]`: a type is no root, and what it declares has a constant size.
    const root = this.rootBefore(i);
    if (root === null || this.others.has(root)) return;
    if (!isKnown(this.tokens.slice(i + 1, closing(this.tokens, i, '[]')), known)) this.unknown(this.tokens[i - 1], root);
  }

  unknown(token, name = token.text) {
    this.fail(
      token,
      `${name} is a thread's own, and the compiler does not know this index: use constants, or loops with a constant bound and #pragma unroll`,
    );
  }

  endOfTerm(i) {
    let depth = 0;
    for (; i < this.tokens.length; i++) {
      const { text } = this.tokens[i];
      if (text === '(' || text === '[') depth++;
      if (depth === 0 && [')', ']', ',', ';'].includes(text)) break;
      if (text === ')' || text === ']') depth--;
    }
    return i;
  }

  /** The name that a subscript or a member at token `i` belongs to; null for memory that a cast says is elsewhere. */
  rootBefore(i) {
    let at = i - 1;
    let member = '';
    for (;;) {
      const { text, kind } = this.tokens[at];
      if (text === ']') at = opening(this.tokens, at, '[]') - 1;
      else if (text === ')') {
        const inside = this.tokens.slice(opening(this.tokens, at, '()'), at);
        const isElsewhere = ({ text: word }) => (SPACES.has(word) && word !== 'thread') || this.others.has(word);
        return inside.some(isElsewhere) ? null : '(…)';
      } else if (kind === 'word' && this.tokens[at - 1]?.text === '.') {
        member = text;
        at -= 2;
      } else return this.pointers.has(`${this.typeOf(text)}.${member}`) ? null : text;
    }
  }

  /** The type that `name` is declared with, without what stands in angle brackets. */
  typeOf(name) {
    const at = this.tokens.findIndex(({ text }, i) => text === name && (this.tokens[i - 1]?.kind === 'word' || this.tokens[i - 1]?.text === '>'));
    if (this.tokens[at - 1]?.text === '>') return this.tokens[opening(this.tokens, at - 1, '<>') - 1].text;
    return this.tokens[at - 1]?.text;
  }
}

function opening(tokens, close, pair) {
  let depth = 0;
  for (let i = close; i >= 0; i--) {
    if (tokens[i].text === pair[1]) depth++;
    else if (tokens[i].text === pair[0] && --depth === 0) return i;
  }
  return -1;
}

/** Constants are written FM_LIKE_THIS. */
function isKnown(tokens, known) {
  return tokens.every(
    ({ kind, text }) => kind !== 'word' || known.has(text) || INTEGERS.has(text) || /^FM_[A-Z0-9_]+$/.test(text),
  );
}

/** Names that a function declares with an address space for which `matches` is true. */
function namesDeclared(tokens, matches) {
  const names = new Set();
  tokens.forEach((token, i) => {
    if (!SPACES.has(token.text) || !matches(token.text)) return;
    let at = i;
    for (let depth = 0; depth > 0 || !['[', '[[', '=', ',', ')', ';'].includes(tokens[at].text); at++) {
      if (tokens[at].text === '<') depth++;
      if (tokens[at].text === '>') depth--;
    }
    names.add(tokens[at - 1].text);
  });
  return names;
}

/** A function's arrays, and its pointers and references to a thread's own memory. */
function privateArrays(tokens, elsewhere) {
  const names = namesDeclared(tokens, (space) => space === 'thread');
  tokens.forEach((token, i) => {
    const isDeclared = token.text === '[' && tokens[i - 1].kind === 'word' && tokens[i - 2]?.kind === 'word';
    if (isDeclared && !elsewhere.has(tokens[i - 1].text)) names.add(tokens[i - 1].text);
  });
  return names;
}
