// Call ids as models with the form `functions.NAME:IDX` know them. Clients bring ids of other makes in a
// history; the model's vendor names those as a cause of worse calls.

import type { ChatMessage } from './types.js';

/** Ids of that form are kept; the others get one, numbered on through the conversation. */
export function withNumberedIds(messages: readonly ChatMessage[]): ChatMessage[] {
  const used = new Set(
    messages.flatMap(({ toolCalls = [] }) => toolCalls.map(({ id }) => id).filter(isNumbered)),
  );
  const renamed = new Map<string, string>();
  let next = 0;
  const rename = (id: string, name: string): string => {
    if (isNumbered(id)) {
      next++;
      return id;
    }
    while (used.has(`functions.${name}:${next}`)) next++;
    const numbered = `functions.${name}:${next++}`;
    used.add(numbered);
    renamed.set(id, numbered);
    return numbered;
  };
  return messages.map((message) => ({
    ...message,
    ...(message.toolCalls === undefined
      ? {}
      : {
          toolCalls: message.toolCalls.map((call) => ({ ...call, id: rename(call.id, call.name) })),
        }),
    ...(message.toolCallId === undefined
      ? {}
      : { toolCallId: renamed.get(message.toolCallId) ?? message.toolCallId }),
  }));
}

function isNumbered(id: string): boolean {
  return /^functions\..+:\d+$/.test(id);
}
