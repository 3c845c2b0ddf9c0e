// Puts a conversation on a terminal and takes it off again, whatever happens in between.

import type { Chat } from '../../../chat/chat.js';
import type { Style } from '../../style.js';
import { drawWhile, type TerminalStreams } from '../mount.js';
import { TerminalWindow } from '../window.js';
import { ChatApp } from './ChatApp.js';

const FRAMES_PER_SECOND = 12;

/** Runs until the conversation is closed; rejects when its first model can't answer. The cursor is back and raw mode off when this settles. */
export async function chatOnTerminal(
  chat: Chat,
  streams: TerminalStreams,
  style: Style,
  now: () => number,
): Promise<void> {
  const window = new TerminalWindow(streams.stdout);
  const view = <ChatApp chat={chat} style={style} now={now} window={window} />;
  await drawWhile(view, streams, window, FRAMES_PER_SECOND, () => closed(chat));
  await chat.opened();
}

function closed(chat: Chat): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      if (chat.state().isClosed) resolve();
    };
    chat.subscribe(end);
    end();
  });
}
