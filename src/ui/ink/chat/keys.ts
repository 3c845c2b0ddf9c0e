// Keys of a terminal as what they mean in a conversation. Pure.

import type { Key } from 'ink';
import { terminalText } from '../../../base/terminal-text.js';
import type { Edit } from '../../../chat/editor.js';

export type ChatKey =
  { type: 'send' | 'interrupt' | 'close' | 'thinking' } | { type: 'edit'; edit: Edit };

const WITH_CTRL: Record<string, Exclude<Edit['type'], 'insert' | 'set'>> = {
  a: 'home',
  e: 'end',
  b: 'left',
  f: 'right',
  p: 'up',
  n: 'down',
  w: 'delete-word',
  u: 'delete-to-start',
  k: 'delete-to-end',
};

/**
 * What one piece of input means: nothing, one key, or what was typed while the program was busy. Its Enter is a line feed
 * where it was typed before this program took single keys: `isFirst`.
 */
export function keysOf(input: string, key: Key, isFirst: boolean): ChatKey[] {
  // Typed ahead, a line comes in one piece with its Enter. A paste of several lines has more ends, and is never sent.
  const line = (isFirst ? /^([^\r\n]+)[\r\n]$/ : /^([^\r\n]+)\r$/).exec(input)?.[1];
  if (line !== undefined) {
    const text = terminalText(line);
    return [{ type: 'edit', edit: { type: 'insert', text } }, { type: 'send' }];
  }
  const found = keyOf(input, key);
  return found === null ? [] : [found];
}

function keyOf(input: string, key: Key): ChatKey | null {
  const change = (edit: Edit): ChatKey => ({ type: 'edit', edit });
  if (key.ctrl && input === 'c') return { type: 'interrupt' };
  if (key.ctrl && input === 'd') return { type: 'close' };
  if (key.ctrl && input === 't') return { type: 'thinking' };
  // Ctrl-J is a line feed; Enter is a carriage return.
  if ((key.ctrl && input === 'j') || input === '\n') return change({ type: 'insert', text: '\n' });
  if (key.return) return key.meta ? change({ type: 'insert', text: '\n' }) : { type: 'send' };
  if (key.ctrl) {
    const type = WITH_CTRL[input];
    return type === undefined ? null : change({ type });
  }
  if (key.leftArrow) return change({ type: key.meta ? 'word-left' : 'left' });
  if (key.rightArrow) return change({ type: key.meta ? 'word-right' : 'right' });
  if (key.upArrow) return change({ type: 'up' });
  if (key.downArrow) return change({ type: 'down' });
  // Ink calls what most keyboards send for Backspace delete.
  if (key.backspace || key.delete) return change({ type: key.meta ? 'delete-word' : 'backspace' });
  if (key.escape || key.tab || key.pageUp || key.pageDown || input === '') return null;
  // What was pasted comes in one piece, with its line ends as the terminal sends them.
  const text = terminalText(input.replace(/\r\n?/g, '\n'));
  return text === '' ? null : change({ type: 'insert', text });
}
