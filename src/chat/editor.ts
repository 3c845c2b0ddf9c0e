// The line that is being written: text and a cursor in it. Pure.

export interface Editor {
  text: string;
  /** Index into `text`, between code points. */
  cursor: number;
  /** Lines sent before, oldest first; where in them one is; what was being written meanwhile. */
  history: readonly string[];
  at: number;
  draft: string;
}

export type Edit =
  | { type: 'insert'; text: string }
  | { type: 'set'; text: string }
  | {
      type:
        | 'left'
        | 'right'
        | 'up'
        | 'down'
        | 'home'
        | 'end'
        | 'word-left'
        | 'word-right'
        | 'backspace'
        | 'delete'
        | 'delete-word'
        | 'delete-to-start'
        | 'delete-to-end';
    };

export const EMPTY_EDITOR: Editor = { text: '', cursor: 0, history: [], at: 0, draft: '' };

/** After a line was sent: empty, and the line is the newest of the history. */
export function sent(editor: Editor): Editor {
  const { history, text } = editor;
  const next = text === '' || history.at(-1) === text ? history : [...history, text];
  return { text: '', cursor: 0, history: next, at: next.length, draft: '' };
}

export function edit(editor: Editor, change: Edit): Editor {
  const { text, cursor } = editor;
  const put = (next: string, at: number): Editor => ({ ...editor, text: next, cursor: at });
  const cut = (from: number, to: number): Editor => put(text.slice(0, from) + text.slice(to), from);
  switch (change.type) {
    case 'insert':
      return put(
        text.slice(0, cursor) + change.text + text.slice(cursor),
        cursor + change.text.length,
      );
    case 'set':
      return put(change.text, change.text.length);
    case 'left':
      return put(text, before(text, cursor));
    case 'right':
      return put(text, after(text, cursor));
    case 'home':
      return put(text, text.lastIndexOf('\n', cursor - 1) + 1);
    case 'end':
      return put(text, endOfLine(text, cursor));
    case 'word-left':
      return put(text, wordBefore(text, cursor));
    case 'word-right':
      return put(text, cursor + (/^\s*\S*/.exec(text.slice(cursor))?.[0].length ?? 0));
    case 'backspace':
      return cut(before(text, cursor), cursor);
    case 'delete':
      return cut(cursor, after(text, cursor));
    case 'delete-word':
      return cut(wordBefore(text, cursor), cursor);
    case 'delete-to-start':
      return cut(text.lastIndexOf('\n', cursor - 1) + 1, cursor);
    case 'delete-to-end':
      return cut(cursor, endOfLine(text, cursor));
    case 'up':
      return text.lastIndexOf('\n', cursor - 1) < 0
        ? older(editor)
        : put(text, sameColumn(text, cursor, -1));
    case 'down':
      return text.indexOf('\n', cursor) < 0
        ? newer(editor)
        : put(text, sameColumn(text, cursor, 1));
  }
}

/** A code point may be two units of a string. */
function before(text: string, at: number): number {
  return Math.max(0, at - (/[\uDC00-\uDFFF]/.test(text.charAt(at - 1)) ? 2 : 1));
}

function after(text: string, at: number): number {
  return Math.min(text.length, at + (/[\uD800-\uDBFF]/.test(text.charAt(at)) ? 2 : 1));
}

function wordBefore(text: string, at: number): number {
  return at - (/\S*\s*$/.exec(text.slice(0, at))?.[0].length ?? 0);
}

function endOfLine(text: string, at: number): number {
  const end = text.indexOf('\n', at);
  return end < 0 ? text.length : end;
}

function sameColumn(text: string, cursor: number, lines: 1 | -1): number {
  const start = text.lastIndexOf('\n', cursor - 1) + 1;
  const column = cursor - start;
  const other = lines < 0 ? text.lastIndexOf('\n', start - 2) + 1 : endOfLine(text, cursor) + 1;
  return Math.min(other + column, endOfLine(text, other));
}

function older(editor: Editor): Editor {
  const { at, history, text, draft } = editor;
  const line = history[at - 1];
  if (line === undefined) return editor;
  const kept = at === history.length ? text : draft;
  return { ...editor, text: line, cursor: line.length, at: at - 1, draft: kept };
}

function newer(editor: Editor): Editor {
  const { at, history, draft } = editor;
  if (at >= history.length) return editor;
  const line = at + 1 === history.length ? draft : (history[at + 1] ?? '');
  return { ...editor, text: line, cursor: line.length, at: at + 1 };
}
