// Emphasis for text views. Every word stays readable without it: a glyph or word always says the same.

import { styleText } from 'node:util';

export interface Style {
  bold(text: string): string;
  dim(text: string): string;
  good(text: string): string;
  warn(text: string): string;
  bad(text: string): string;
  readonly glyph: Glyphs;
}

export interface Glyphs {
  ok: string;
  warn: string;
  fail: string;
  info: string;
  skip: string;
  pointer: string;
  full: string;
  empty: string;
}

const UNICODE: Glyphs = {
  ok: '✓',
  warn: '!',
  fail: '✗',
  info: '·',
  skip: '-',
  pointer: '›',
  full: '█',
  empty: '░',
};

const ASCII: Glyphs = {
  ok: '+',
  warn: '!',
  fail: 'x',
  info: '.',
  skip: '-',
  pointer: '>',
  full: '#',
  empty: '-',
};

type Format = Parameters<typeof styleText>[0];

export function plainStyle(options: { color: boolean; unicode: boolean }): Style {
  const paint =
    (format: Format) =>
    (text: string): string =>
      // validateStream off: whether to colour was decided by the caller, flags and all.
      options.color ? styleText(format, text, { validateStream: false }) : text;
  return {
    bold: paint('bold'),
    dim: paint('dim'),
    good: paint('green'),
    warn: paint('yellow'),
    bad: paint('red'),
    glyph: options.unicode ? UNICODE : ASCII,
  };
}
