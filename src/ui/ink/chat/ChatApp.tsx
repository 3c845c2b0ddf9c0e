// The conversation on a terminal: what is done is printed once and scrolls away, what is under way stays below it.

import { Box, Static, Text, useInput, useStdin, useStdout } from 'ink';
import { useEffect, useReducer, useState, useSyncExternalStore } from 'react';
import type { Chat, ChatState, Entry } from '../../../chat/chat.js';
import { edit, EMPTY_EDITOR, sent, type Editor } from '../../../chat/editor.js';
import { markdownLines } from '../../markdown.js';
import type { Style } from '../../style.js';
import { editOf, type ChatKey } from './keys.js';
import { LiveAnswer } from './LiveAnswer.js';
import { StatusLine } from './StatusLine.js';

const REDRAW_MS = 250;

export function ChatApp({ chat, style, now }: { chat: Chat; style: Style; now: () => number }) {
  const state = useSyncExternalStore(chat.subscribe, chat.state);
  const columns = useColumns();
  const [showsThinking, setShowsThinking] = useState(false);
  const [editor, setEditor] = useState<Editor>(EMPTY_EDITOR);
  useClock(state.answering !== null);
  const { isRawModeSupported } = useStdin();
  const onKey = (key: ChatKey): void => {
    if (key.type === 'interrupt') return interrupt(chat, editor, setEditor);
    if (key.type === 'close') return void (editor.text === '' && chat.close());
    if (key.type === 'thinking') return setShowsThinking((shown) => !shown);
    if (key.type === 'edit') return setEditor((old) => edit(old, key.edit));
    // While it answers, what is typed waits in the line.
    if (state.answering !== null) return;
    if (editor.text.endsWith('\\')) {
      const text = `${editor.text.slice(0, -1)}\n`;
      return setEditor((old) => edit(old, { type: 'set', text }));
    }
    setEditor(sent(editor));
    void chat.send(editor.text);
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
    const found = editOf(input, key);
    if (found !== null) onKey(found);
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
      return entry.text.split('\n').map((line) => style.dim(line));
    case 'error':
      return [
        style.bad(entry.text),
        ...(entry.hint === null ? [] : [style.dim(`hint: ${entry.hint}`)]),
      ];
  }
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

export type { ChatState };
