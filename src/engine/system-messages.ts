// Where system messages stand. What a conversation begins with has to stay as it is when something is said in its middle:
// a prompt that begins otherwise is read anew from there on. So each one stays in its place, as its own message where the
// template takes it there, else inside the text of what was sent together with it.

import type { ChatMessage } from './types.js';

/** @param takesLate the template prints a system message that isn't the first, where it stands */
export function placeSystemMessages(
  messages: readonly ChatMessage[],
  takesLate: boolean,
): ChatMessage[] {
  const start = messages.findIndex(({ role }) => role !== 'system');
  const leading = start < 0 ? messages : messages.slice(0, start);
  const rest = start < 0 ? [] : messages.slice(start);
  const content = leading.map((message) => message.content).join('\n\n');
  const first: ChatMessage[] = leading.length === 0 ? [] : [{ role: 'system', content }];
  return [...first, ...(takesLate ? rest : withinOthers(rest))];
}

/**
 * Behind the user's or tool's text before it, else before the user's text behind it: both came with it, after the last
 * answer, so that nothing before changes. Alone, it is a text of the user's.
 */
function withinOthers(messages: readonly ChatMessage[]): ChatMessage[] {
  const result: ChatMessage[] = [];
  let waiting: string | null = null;
  const flush = (): void => {
    if (waiting !== null) result.push({ role: 'user', content: waiting });
    waiting = null;
  };
  for (const message of messages) {
    const before = result.at(-1);
    if (message.role === 'system') {
      const text = `<system>\n${message.content}\n</system>`;
      if (waiting === null && before !== undefined && before.role !== 'assistant') {
        result[result.length - 1] = { ...before, content: joined(before.content, text) };
      } else waiting = waiting === null ? text : joined(waiting, text);
    } else if (message.role === 'user' && waiting !== null) {
      result.push({ ...message, content: joined(waiting, message.content) });
      waiting = null;
    } else {
      flush();
      result.push(message);
    }
  }
  flush();
  return result;
}

function joined(first: string, second: string): string {
  return first === '' ? second : `${first}\n\n${second}`;
}
