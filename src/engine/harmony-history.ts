// A history as templates of the Harmony form take it. There one call ends a message, so templates print the first of several and
// pair a result with the call before it; and they know thoughts as `thinking`, never beside other text of a call.

import type { ChatMessage, ToolCall } from './types.js';

/** Several calls of a message become messages of their own, each followed by its result. */
export function withSingleCalls(messages: readonly ChatMessage[]): ChatMessage[] {
  const single: ChatMessage[] = [];
  for (let index = 0; index < messages.length; index += 1) {
    const message = messages[index] as ChatMessage;
    const { toolCalls = [] } = message;
    if (toolCalls.length < 2) {
      single.push(message);
      continue;
    }
    const results: ChatMessage[] = [];
    while (messages[index + 1]?.role === 'tool')
      results.push(messages[(index += 1)] as ChatMessage);
    toolCalls.forEach((call, at) => {
      single.push(at === 0 ? { ...message, toolCalls: [call] } : onlyCall(call));
      const own = resultOf(call, results);
      if (own !== null) single.push(own);
    });
    single.push(...results);
  }
  return single;
}

function onlyCall(call: ToolCall): ChatMessage {
  return { role: 'assistant', content: '', toolCalls: [call] };
}

/** Takes it out of `results`: by its id or, where the next has none, by its place. */
function resultOf({ id }: ToolCall, results: ChatMessage[]): ChatMessage | null {
  const known = results.findIndex(({ toolCallId }) => toolCallId === id);
  const isUnnamed = results.length > 0 && results[0]?.toolCallId === undefined;
  if (known < 0 && !isUnnamed) return null;
  return results.splice(Math.max(known, 0), 1)[0] ?? null;
}
