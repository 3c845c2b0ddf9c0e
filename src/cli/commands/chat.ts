// flashmoe chat: a conversation on a terminal; lines in and answers out on a pipe.

import { createInterface } from 'node:readline';
import { openChatBackend } from '../../application/chat-backend.js';
import { readyInstallations } from '../../application/ready-models.js';
import { EXIT, FlashmoeError } from '../../base/errors.js';
import { terminalText } from '../../base/terminal-text.js';
import { Chat, type Entry } from '../../chat/chat.js';
import type { RunOptions } from '../../settings/engine-options.js';
import { hangingLines } from '../../ui/table.js';
import type { CliContext } from '../context.js';

export interface ChatArgs extends RunOptions {
  thinking: boolean | null;
}

export async function chat(context: CliContext, args: ChatArgs): Promise<number> {
  const { system, maxTokens, temperature, seed } = args;
  const models = async (): Promise<string[]> =>
    (await readyInstallations(context.home)).map(({ id }) => id);
  const { host } = context;
  const conversation = new Chat(
    {
      open: (choice, signal, loading) =>
        openChatBackend(
          context,
          { ...choice, typed: args },
          AbortSignal.any([signal, context.signal]),
          loading,
        ),
      models,
      folder: process.cwd(),
      homeDirectory: host.homeDirectory,
      now: () => host.now(),
    },
    args.model,
    { system, maxTokens, temperature, seed },
    args.thinking,
  );
  try {
    if (context.outputMode === 'ink') {
      const { chatOnTerminal } = await import('../../ui/ink/chat/mount-chat.js');
      await chatOnTerminal(conversation, context, context.style, () => host.now());
    } else {
      await conversation.opened();
      await converse(context, conversation);
    }
  } finally {
    if (!conversation.state().isClosed) await conversation.close();
  }
  return EXIT.done;
}

/** Without a terminal: a line is a message or a command, an answer is printed when it is complete. */
async function converse(context: CliContext, conversation: Chat): Promise<void> {
  const lines = createInterface({ input: context.stdin });
  if (context.stdin.isTTY && !context.json) {
    context.note(`${conversation.state().model} answers; a line is a message, /help says more`);
  }
  let told = 0;
  for await (const line of lines) {
    const stop = (): void => void conversation.stop();
    context.signal.addEventListener('abort', stop, { once: true });
    await conversation.send(line);
    context.signal.removeEventListener('abort', stop);
    const { entries, last, isClosed } = conversation.state();
    for (const entry of entries.slice(told)) say(context, entry);
    if (context.json && last !== null) context.emit('usage', last);
    told = entries.length;
    if (context.signal.aborted) {
      throw new FlashmoeError('ERR_INTERRUPTED', 'the conversation was interrupted');
    }
    if (isClosed) return;
  }
}

/** Of a terminal that can do no more than print; a file gets whole lines. */
function widthOf({ stderr }: CliContext): number {
  return stderr.isTTY ? stderr.columns - 1 : Number.POSITIVE_INFINITY;
}

/** Answers are the result; the rest is for whoever watches. */
function say(context: CliContext, entry: Entry): void {
  if (context.json) return context.emit('entry', entry);
  switch (entry.type) {
    case 'answer':
      return context.print(terminalText(entry.text));
    case 'note':
      for (const line of entry.text.split('\n')) {
        for (const part of hangingLines(line, widthOf(context))) context.note(part);
      }
      return;
    case 'error':
      context.note(entry.text);
      if (entry.hint !== null) context.note(`hint: ${entry.hint}`);
      return;
    case 'user':
      return;
  }
}
