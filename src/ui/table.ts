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

/** Name and value lines, values aligned: for plans and receipts. */
export function pairLines(pairs: readonly (readonly [string, string])[], indent = 2): string[] {
  const width = Math.max(...pairs.map(([name]) => textWidth(name)));
  return pairs.map(([name, value]) => `${' '.repeat(indent)}${name.padEnd(width)}  ${value}`);
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
