// Tokens of a Metal source, with the lines on which they stand.

const TOKEN =
  /(\/\/[^\n]*|\/\*[\s\S]*?\*\/)|(#[^\n]*(?:\\\n[^\n]*)*)|("(?:[^"\\]|\\.)*")|([A-Za-z_]\w*)|(\.?\d(?:[\w.]|[eE][+-])*)|(\s+)|(\[\[|\]\]|::|->|<<=|>>=|[-+*/%&|^=!<>]=|&&|\|\||\+\+|--|<<|[\s\S])/g;
const KINDS = ['comment', 'directive', 'string', 'word', 'number', 'space', 'mark'];

export const SPACES = new Set(['device', 'constant', 'threadgroup', 'thread']);

export class SubsetError extends Error {
  constructor(file, line, message) {
    super(`${file}:${line}: ${message}`);
    this.name = 'SubsetError';
  }
}

export function tokenise(text) {
  const tokens = [];
  let line = 1;
  for (const match of text.matchAll(TOKEN)) {
    const kind = KINDS[match.slice(1).findIndex((group) => group !== undefined)];
    tokens.push({ kind, text: match[0], line });
    line += match[0].split('\n').length - 1;
  }
  return tokens;
}

export const isBlank = (token) => token.kind === 'space' || token.kind === 'comment';

/** Index of the token that closes the bracket opened at `open`. */
export function closing(tokens, open, pair) {
  let depth = 0;
  for (let i = open; i < tokens.length; i++) {
    if (tokens[i].text === pair[0]) depth++;
    else if (tokens[i].text === pair[1] && --depth === 0) return i;
  }
  return -1;
}

export function nextSolid(tokens, from) {
  let i = from;
  while (i < tokens.length && isBlank(tokens[i])) i++;
  return i;
}
