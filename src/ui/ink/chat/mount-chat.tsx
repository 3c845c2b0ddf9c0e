// Puts a conversation on a terminal and takes it off again, whatever happens in between.

import { render } from 'ink';
import type { Chat } from '../../../chat/chat.js';
import type { Style } from '../../style.js';
import type { TerminalStreams } from '../mount.js';
import { ChatApp } from './ChatApp.js';

const FRAMES_PER_SECOND = 12;

/** Runs until the conversation is closed. The cursor is back and raw mode off when this settles. */
export async function chatOnTerminal(
  chat: Chat,
  streams: TerminalStreams,
  style: Style,
  now: () => number,
): Promise<void> {
  const view = render(<ChatApp chat={chat} style={style} now={now} />, {
    ...streams,
    maxFps: FRAMES_PER_SECOND,
    // Ctrl-C stops an answer, not the program.
    exitOnCtrlC: false,
    patchConsole: false,
  });
  try {
    await new Promise<void>((resolve) => {
      const end = (): void => {
        if (chat.state().isClosed) resolve();
      };
      chat.subscribe(end);
      end();
    });
  } finally {
    view.unmount();
    await view.waitUntilExit();
  }
}
