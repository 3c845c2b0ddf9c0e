// Columns of text for terminals: widths from the content as a terminal shows it, the widest flexible column gives way.

import textWidth from 'fast-string-width';

export interface Column {
  title: string;
  align?: 'left' | 'right';
  /** May be cut with an ellipsis when the table is too wide; others keep their full text. */
  flexible?: boolean;
}

const GAP = 2;

/** Lines no longer than `width`, header first. Cells are plain text; style the lines afterwards. */
export function tableLines(columns: Column[], rows: string[][], width: number): string[] {
  const widths = columns.map((column, index) =>
    Math.max(textWidth(column.title), ...rows.map((row) => textWidth(row[index] ?? ''))),
  );
  const total = widths.reduce((sum, each) => sum + each, 0) + GAP * (columns.length - 1);
  let excess = total - width;
  while (excess > 0) {
    const widest = columns.reduce(
      (best, column, index) =>
        column.flexible && (best < 0 || (widths[index] ?? 0) > (widths[best] ?? 0)) ? index : best,
      -1,
    );
    const current = widths[widest];
    if (current === undefined || current <= 4) break;
    widths[widest] = current - 1;
    excess -= 1;
  }
  const line = (cells: string[]): string =>
    cells
      .map((cell, index) => fit(cell, widths[index] ?? 0, columns[index]?.align ?? 'left'))
      .join(' '.repeat(GAP))
      .trimEnd();
  return [line(columns.map((column) => column.title)), ...rows.map(line)];
}

/** Exactly `width` cells of a terminal; cut text ends in `…`. */
export function fit(text: string, width: number, align: 'left' | 'right' = 'left'): string {
  const cut = shorten(text, width);
  const space = ' '.repeat(Math.max(0, width - textWidth(cut)));
  return align === 'right' ? space + cut : cut + space;
}

/** At most `width` cells of a terminal. */
export function shorten(text: string, width: number): string {
  if (textWidth(text) <= width) return text;
  const room = width <= 1 ? width : width - 1;
  let kept = '';
  for (const { segment } of new Intl.Segmenter().segment(text)) {
    if (textWidth(kept + segment) > room) break;
    kept += segment;
  }
  return width <= 1 ? kept : `${kept}…`;
}

/** Name and value lines, values aligned: for plans and receipts. A value that is too long goes on below its beginning. */
export function pairLines(
  pairs: readonly (readonly [string, string])[],
  { indent = 2, width = Number.POSITIVE_INFINITY }: { indent?: number; width?: number } = {},
): string[] {
  const names = Math.max(...pairs.map(([name]) => textWidth(name)));
  const margin = indent + names + 2;
  return pairs.flatMap(([name, value]) => {
    const parts = wrapText(value, Math.max(20, width - margin));
    const start = (' '.repeat(indent) + name).padEnd(margin);
    // A path or an address is not broken: it has a line of its own.
    if (parts.some((part) => margin + textWidth(part) > width)) {
      return [start.trimEnd(), ...parts.map((part) => ' '.repeat(indent + 2) + part)];
    }
    return parts.map((part, index) => (index === 0 ? start : ' '.repeat(margin)) + part);
  });
}

/** Text broken at spaces into lines of at most `width`; a longer word keeps its line to itself. */
export function wrapText(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && textWidth(line) + 1 + textWidth(word) > width) {
      lines.push(line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  return [...lines, line];
}

/** `name  what it is` as lines of at most `width`, with the rest of a long text below its beginning. */
export function hangingLines(line: string, width: number): string[] {
  const [, name = '', text = line] = /^(\S.*?\s{2,})(\S.*)$/.exec(line) ?? [];
  const room = Math.max(20, width - textWidth(name));
  return wrapText(text, room).map(
    (part, index) => (index === 0 ? name : ' '.repeat(textWidth(name))) + part,
  );
}
