// Markdown of a model as text for a terminal: emphasis, lists, code and tables, no HTML, nothing that a terminal obeys.

import { lexer, type Token, type Tokens } from 'marked';
import textWidth from 'fast-string-width';
import { terminalText } from '../base/terminal-text.js';
import type { Style } from './style.js';
import { wrapText } from './table.js';

/**
 * Lines of at most `width` columns where words allow it; code keeps its own lines, however long. Also of a text that is
 * still coming: an open fence is code up to the end.
 */
export function markdownLines(text: string, width: number, style: Style): string[] {
  const lines = lexer(terminalText(text)).flatMap((token) => blockLines(token, width, style));
  while (lines.at(-1) === '') lines.pop();
  return lines;
}

function blockLines(token: Token, width: number, style: Style): string[] {
  switch (token.type) {
    case 'space':
      return [''];
    case 'heading':
      return wrapStyled(style.bold(inline(token.tokens ?? [], style)), width);
    case 'paragraph':
    case 'text':
      return wrapStyled(inline(token.tokens ?? [token], style), width);
    case 'code':
      return (token as Tokens.Code).text.split('\n').map((line) => `  ${style.good(line)}`);
    case 'blockquote':
      return indented((token as Tokens.Blockquote).tokens, '| ', width, style).map((line) =>
        style.dim(line),
      );
    case 'list':
      return listLines(token as Tokens.List, width, style);
    case 'table':
      return tableRows(token as Tokens.Table, style);
    case 'hr':
      return ['-'.repeat(Math.min(width, 20))];
    default:
      // HTML and whatever else there is: shown as it was written.
      return wrapStyled(token.raw.trimEnd(), width);
  }
}

function indented(tokens: Token[], margin: string, width: number, style: Style): string[] {
  const inner = Math.max(10, width - margin.length);
  return tokens.flatMap((token) => blockLines(token, inner, style)).map((line) => margin + line);
}

function listLines({ items, ordered, start }: Tokens.List, width: number, style: Style): string[] {
  return items.flatMap((item, index) => {
    const mark = ordered ? `${Number(start || 1) + index}. ` : '- ';
    const box = item.task ? (item.checked ? '[x] ' : '[ ] ') : '';
    const lines = indented(item.tokens, ' '.repeat(mark.length), width, style);
    const [first = '', ...rest] = lines.filter(
      (line, at) => line.trim() !== '' || at < lines.length - 1,
    );
    return [mark + box + first.slice(mark.length), ...rest];
  });
}

function tableRows({ header, rows }: Tokens.Table, style: Style): string[] {
  const cells = [header, ...rows].map((row) => row.map((cell) => inline(cell.tokens, style)));
  const widths = header.map((_, column) =>
    Math.max(...cells.map((row) => textWidth(row[column] ?? ''))),
  );
  const line = (row: string[]): string =>
    row
      .map(
        (cell, column) => cell + ' '.repeat(Math.max(0, (widths[column] ?? 0) - textWidth(cell))),
      )
      .join('  ')
      .trimEnd();
  const [first = [], ...more] = cells;
  return [
    style.bold(line(first)),
    widths.map((each) => '-'.repeat(each)).join('  '),
    ...more.map(line),
  ];
}

function inline(tokens: Token[], style: Style): string {
  return tokens
    .map((token) => {
      const inner = (): string =>
        inline(('tokens' in token ? token.tokens : undefined) ?? [], style);
      switch (token.type) {
        case 'strong':
          return style.bold(inner());
        case 'em':
        case 'del':
          return style.dim(inner());
        case 'codespan':
          return style.good((token as Tokens.Codespan).text);
        case 'br':
          return '\n';
        case 'link':
        case 'image':
          return linkText(
            inner() || (token as Tokens.Link).text,
            (token as Tokens.Link).href,
            style,
          );
        case 'escape':
          return (token as Tokens.Escape).text;
        case 'text':
          return 'tokens' in token && token.tokens ? inner() : (token as Tokens.Text).text;
        default:
          return token.raw;
      }
    })
    .join('');
}

/** The address is always shown: what a link says may be anything. */
function linkText(text: string, href: string, style: Style): string {
  return text === href || text === '' ? href : `${text} ${style.dim(`(${href})`)}`;
}

/** Each paragraph by itself; widths are of what is seen, without the styles. */
function wrapStyled(text: string, width: number): string[] {
  return text.split('\n').flatMap((paragraph) => wrapText(paragraph, width));
}
