// A cast of tools/media/record.mjs as an SVG that plays: each screen is a group, seen in its time. Lines that stay the same are in it
// once. Whoever wants no motion sees the last screen.
import { readFileSync, writeFileSync } from 'node:fs';

const CELL = { width: 8.4, height: 19 };
const MARGIN = 16;
const COLORS = [
  '#4d4d4d',
  '#ff7b72',
  '#56d364',
  '#e3b341',
  '#79c0ff',
  '#d2a8ff',
  '#56d4dd',
  '#d0d7de',
];
const INK = '#e6edf3';
const GROUND = '#14110e';

export function renderSvg(castPath, svgPath) {
  const [header, ...events] = readFileSync(castPath, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  const { width, height, duration, title } = header;
  const lines = new Map();
  const frames = events.map(([, , data], index) => {
    const rows = wholeRows(data.replace('\x1b[H\x1b[2J', '').split('\r\n'));
    const uses = rows.flatMap((row, y) => {
      if (row.replace(/\x1b\[[0-9;]*m/g, '').trim() === '') return [];
      if (!lines.has(row)) lines.set(row, `l${lines.size}`);
      return [`<use href="#${lines.get(row)}" y="${(y + 1) * CELL.height}"/>`];
    });
    return `<g class="f" id="f${index}">${uses.join('')}</g>`;
  });
  const share = (seconds) => `${((seconds / duration) * 100).toFixed(3)}%`;
  const times = events.map(([at], index) => {
    const [from, to] = [share(at), share(events[index + 1]?.[0] ?? duration)];
    const seen = at === 0 ? '' : '0%{visibility:hidden}';
    const gone = index === events.length - 1 ? '' : `${to}{visibility:hidden}`;
    return `@keyframes k${index}{${seen}${from}{visibility:visible}${gone}}#f${index}{animation-name:k${index}}`;
  });
  const [w, h] = [width * CELL.width + 2 * MARGIN, height * CELL.height + 2 * MARGIN];
  const style = [
    `text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:${INK};white-space:pre}`,
    '.b{font-weight:700}.d{opacity:.62}',
    ...COLORS.map((color, index) => `.c${index}{fill:${color}}`),
    `.f{visibility:hidden;animation:${duration.toFixed(2)}s step-end infinite}`,
    ...times,
    `@media(prefers-reduced-motion:reduce){.f{animation:none}#f${events.length - 1}{visibility:visible}}`,
  ].join('');
  const defs = [...lines].map(([row, id]) => `<g id="${id}">${runs(row)}</g>`).join('');
  writeFileSync(
    svgPath,
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${w} ${h}" width="${w}" height="${h}" role="img"><title>${escaped(title)}</title><style>${style}</style><defs>${defs}</defs><rect width="${w}" height="${h}" rx="10" fill="${GROUND}"/><g transform="translate(${MARGIN} ${MARGIN - 5})">${frames.join('')}</g></svg>\n`,
  );
}

/** Each row with the style that the rows above it left on: tmux names a style once, however many lines have it. */
function wholeRows(rows) {
  let open = '';
  return rows.map((row) => {
    const whole = open + row;
    const codes = whole.match(/\x1b\[[0-9;]*m/g) ?? [];
    open = codes.slice(codes.findLastIndex((code) => /\[0?m/.test(code)) + 1).join('');
    return whole;
  });
}

/** Texts of one line, one for each change of style, in their columns. */
function runs(row) {
  let style = { color: null, bold: false, dim: false };
  let column = 0;
  return row
    .split(/(\x1b\[[0-9;]*m)/)
    .map((part) => {
      const code = /^\x1b\[([0-9;]*)m$/.exec(part)?.[1];
      if (code !== undefined) {
        style = styled(style, code);
        return '';
      }
      const [x, count] = [column, Array.from(part).length];
      column += count;
      if (part.trim() === '') return '';
      const names = [
        ...(style.bold ? ['b'] : []),
        ...(style.dim ? ['d'] : []),
        ...(style.color === null ? [] : [`c${style.color}`]),
      ];
      const look = names.length === 0 ? '' : ` class="${names.join(' ')}"`;
      const [at, long] = [(x * CELL.width).toFixed(1), (count * CELL.width).toFixed(1)];
      return `<text x="${at}" textLength="${long}" lengthAdjust="spacingAndGlyphs"${look}>${escaped(part)}</text>`;
    })
    .join('');
}

/** What a change of style, as terminals write it, makes of the one before. */
function styled(before, codes) {
  const style = { ...before };
  for (const code of codes.split(';').map(Number)) {
    if (code === 0) Object.assign(style, { color: null, bold: false, dim: false });
    else if (code === 1) style.bold = true;
    else if (code === 2) style.dim = true;
    else if (code === 22) Object.assign(style, { bold: false, dim: false });
    else if (code >= 30 && code <= 37) style.color = code - 30;
    else if (code >= 90 && code <= 97) style.color = code - 90;
    else if (code === 39) style.color = null;
  }
  return style;
}

function escaped(text) {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
