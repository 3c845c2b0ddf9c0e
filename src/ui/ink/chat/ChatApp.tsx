// The conversation on a terminal: what is done is printed once and scrolls away, what is under way stays below it.

import { Box, Static, Text, useInput, useStdin, useStdout } from 'ink';
import { useEffect, useReducer, useRef, useState, useSyncExternalStore } from 'react';
import type { Chat, Entry } from '../../../chat/chat.js';
import { edit, EMPTY_EDITOR, sent, type Editor } from '../../../chat/editor.js';
import { markdownLines } from '../../markdown.js';
import type { Style } from '../../style.js';
import { wrapText } from '../../table.js';
import { keysOf, type ChatKey } from './keys.js';
import { LiveAnswer } from './LiveAnswer.js';
import { StatusLine } from './StatusLine.js';

const REDRAW_MS = 250;

export function ChatApp({ chat, style, now }: { chat: Chat; style: Style; now: () => number }) {
  const state = useSyncExternalStore(chat.subscribe, chat.state);
  const columns = useColumns();
  const [showsThinking, setShowsThinking] = useState(false);
  const [editor, showEditor] = useState<Editor>(EMPTY_EDITOR);
  // Keys that come in one piece are handled before the next frame.
  const newest = useRef(editor);
  const setEditor = (next: Editor): void => {
    newest.current = next;
    showEditor(next);
  };
  useClock(state.answering !== null);
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
  const width = Math.max(20, columns - 2);
  return (
    <>
      <Static items={[...state.entries]}>
        {(entry, index) => <EntryView key={index} entry={entry} width={width} style={style} />}
      </Static>
      {state.isClosed ? null : (
        <Box flexDirection="column">
          {isRawModeSupported ? <Keys onKey={onKey} /> : null}
          {state.answering === null ? null : (
            <LiveAnswer
              answering={state.answering}
              width={width}
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
  useInput((input, key) => {
    for (const found of keysOf(input, key)) onKey(found);
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

export function EntryView({ entry, width, style }: { entry: Entry; width: number; style: Style }) {
  return (
    <Box flexDirection="column" marginTop={entry.type === 'user' ? 1 : 0}>
      {entryLines(entry, width, style).map((line, index) => (
        <Text key={index}>{line === '' ? ' ' : line}</Text>
      ))}
    </Box>
  );
}

/** Also what a pipe and a dumb terminal print. */
export function entryLines(entry: Entry, width: number, style: Style): string[] {
  switch (entry.type) {
    case 'user':
      return markUser(entry.text, style);
    case 'answer':
      return [
        ...(entry.reasoning === '' ? [] : [style.dim(thoughtLine(entry.reasoning))]),
        ...markdownLines(entry.text, width, style),
        ...(entry.note === '' ? [] : [style.warn(`(${entry.note})`)]),
      ];
    case 'note':
      return entry.text
        .split('\n')
        .flatMap((line) => hanging(line, width))
        .map((line) => style.dim(line));
    case 'error':
      return [
        style.bad(entry.text),
        ...(entry.hint === null ? [] : [style.dim(`hint: ${entry.hint}`)]),
      ];
  }
}

/** `name  what it is`, with the rest of a long text below its beginning. */
function hanging(line: string, width: number): string[] {
  const [, name = '', text = line] = /^(\S.*?\s{2,})(\S.*)$/.exec(line) ?? [];
  const room = Math.max(20, width - name.length);
  return wrapText(text, room).map(
    (part, index) => (index === 0 ? name : ' '.repeat(name.length)) + part,
  );
}

function markUser(text: string, style: Style): string[] {
  return text
    .split('\n')
    .map((line, index) => style.bold(`${index === 0 ? style.glyph.pointer : ' '} ${line}`));
}

function thoughtLine(reasoning: string): string {
  const words = reasoning.trim().split(/\s+/).length;
  return `thought for ${words} ${words === 1 ? 'word' : 'words'}`;
}

function useColumns(): number {
  const { stdout } = useStdout();
  const [columns, setColumns] = useState(stdout.columns || 80);
  useEffect(() => {
    const onResize = (): void => setColumns(stdout.columns || 80);
    stdout.on('resize', onResize);
    return () => void stdout.off('resize', onResize);
  });
  return columns;
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
