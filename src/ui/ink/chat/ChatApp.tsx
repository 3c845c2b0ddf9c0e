// The conversation on a terminal: what is done is printed once and scrolls away, what is under way stays below it.

import { Box, Text, useInput, useStdin } from 'ink';
import { useEffect, useReducer, useRef, useState, useSyncExternalStore } from 'react';
import { terminalText } from '../../../base/terminal-text.js';
import type { Chat, Entry } from '../../../chat/chat.js';
import { edit, EMPTY_EDITOR, sent, type Editor } from '../../../chat/editor.js';
import { markdownLines } from '../../markdown.js';
import type { Style } from '../../style.js';
import { hangingLines, wrapText } from '../../table.js';
import { usePrinted, useWindow } from '../use-window.js';
import type { TerminalWindow } from '../window.js';
import { keysOf, type ChatKey } from './keys.js';
import { LiveAnswer } from './LiveAnswer.js';
import { StatusLine } from './StatusLine.js';

const REDRAW_MS = 250;
/** What was typed before single keys were taken is read at once. */
const TYPED_AHEAD_MS = 200;

interface ChatAppProps {
  chat: Chat;
  style: Style;
  now: () => number;
  window: TerminalWindow;
}

export function ChatApp({ chat, style, now, window }: ChatAppProps) {
  const state = useSyncExternalStore(chat.subscribe, chat.state);
  const { columns, rows } = useWindow(window);
  const width = Math.max(20, columns - 2);
  usePrinted(window, state.entries, (entry) => entryLines(entry, width, style));
  const [showsThinking, setShowsThinking] = useState(false);
  const [editor, showEditor] = useState<Editor>(EMPTY_EDITOR);
  // Keys that come in one piece are handled before the next frame.
  const newest = useRef(editor);
  const setEditor = (next: Editor): void => {
    newest.current = next;
    showEditor(next);
  };
  useClock(state.answering !== null || state.opening !== null);
  const { isRawModeSupported } = useStdin();
  const onKey = (key: ChatKey): void => {
    const line = newest.current;
    if (key.type === 'interrupt') return interrupt(chat, line, setEditor);
    if (key.type === 'close') return void (line.text === '' && chat.close());
    if (key.type === 'thinking') return setShowsThinking((shown) => !shown);
    if (key.type === 'edit') return setEditor(edit(line, key.edit));
    // While it answers, what is typed waits in the line.
    if (chat.state().answering !== null) return;
    if (line.text.endsWith('\\')) {
      return setEditor(edit(line, { type: 'set', text: `${line.text.slice(0, -1)}\n` }));
    }
    setEditor(sent(line));
    void chat.send(line.text);
  };
  return (
    <>
      {state.isClosed ? null : (
        <Box flexDirection="column">
          {isRawModeSupported ? <Keys onKey={onKey} /> : null}
          {state.answering === null ? null : (
            <LiveAnswer
              answering={state.answering}
              width={width}
              rows={rows}
              style={style}
              now={now()}
              showsThinking={showsThinking}
            />
          )}
          <Line editor={editor} style={style} isBusy={state.answering !== null} />
          <StatusLine state={state} now={now()} width={width} style={style} />
        </Box>
      )}
    </>
  );
}

/** Ctrl-C stops the answer first, then clears the line, and leaves only from an empty one. */
function interrupt(chat: Chat, editor: Editor, setEditor: (editor: Editor) => void): void {
  if (chat.stop()) return;
  if (editor.text === '') void chat.close();
  else setEditor(edit(editor, { type: 'set', text: '' }));
}

/** Apart, because useInput throws where the terminal can't hand over single keys. */
function Keys({ onKey }: { onKey: (key: ChatKey) => void }) {
  const isFirst = useRef(true);
  useEffect(() => {
    const timer = setTimeout(() => (isFirst.current = false), TYPED_AHEAD_MS);
    return () => clearTimeout(timer);
  }, []);
  useInput((input, key) => {
    for (const found of keysOf(input, key, isFirst.current)) onKey(found);
    isFirst.current = false;
  });
  return null;
}

function Line({ editor, style, isBusy }: { editor: Editor; style: Style; isBusy: boolean }) {
  const { text, cursor } = editor;
  const at = text.slice(cursor, cursor + 1);
  const mark = `${style.glyph.pointer} `;
  return (
    <Box marginTop={1}>
      <Text dimColor={isBusy}>{mark}</Text>
      <Text wrap="wrap">
        {text.slice(0, cursor)}
        <Text inverse>{at === '' || at === '\n' ? ' ' : at}</Text>
        {at === '\n' ? '\n' : ''}
        {text.slice(cursor + 1)}
        {text === '' && !isBusy ? <Text dimColor> ask something, /help for more</Text> : null}
      </Text>
    </Box>
  );
}

/** What stays on the screen of an entry. */
function entryLines(entry: Entry, width: number, style: Style): string[] {
  switch (entry.type) {
    case 'user':
      return ['', ...markUser(entry.text, width, style)];
    case 'answer':
      return [
        ...(entry.reasoning === '' ? [] : [style.dim(thoughtLine(entry.reasoning))]),
        ...markdownLines(entry.text, width, style),
        ...(entry.note === '' ? [] : [style.warn(`(${entry.note})`)]),
      ];
    case 'note':
      return terminalText(entry.text)
        .split('\n')
        .flatMap((line) => hangingLines(line, width))
        .map((line) => style.dim(line));
    case 'error':
      return [
        ...wrapText(terminalText(entry.text), width).map((line) => style.bad(line)),
        ...(entry.hint === null
          ? []
          : wrapText(`hint: ${entry.hint}`, width).map((line) => style.dim(line))),
      ];
  }
}

function markUser(text: string, width: number, style: Style): string[] {
  return terminalText(text)
    .split('\n')
    .flatMap((line) => wrapText(line, width - 2))
    .map((line, index) => style.bold(`${index === 0 ? style.glyph.pointer : ' '} ${line}`));
}

function thoughtLine(reasoning: string): string {
  const words = reasoning.trim().split(/\s+/).length;
  return `thought for ${words} ${words === 1 ? 'word' : 'words'}`;
}

/** Times that count up need a frame now and then, also while nothing comes. */
function useClock(isRunning: boolean): void {
  const [, tick] = useReducer((count: number) => count + 1, 0);
  useEffect(() => {
    if (!isRunning) return;
    const timer = setInterval(tick, REDRAW_MS);
    return () => clearInterval(timer);
  }, [isRunning]);
}
