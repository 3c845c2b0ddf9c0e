// What a response is made of.

import type { ToolCall } from '../../../engine/types.js';
import type { CollectedCall } from '../../collected-answer.js';

type Status = 'in_progress' | 'completed' | 'incomplete';
type TextPart =
  | { type: 'output_text'; text: string; annotations: []; logprobs: [] }
  | { type: 'reasoning_text'; text: string };

export type OutputItem =
  | { type: 'message'; id: string; status: Status; role: 'assistant'; content: TextPart[] }
  | { type: 'reasoning'; id: string; status: Status; summary: []; content: TextPart[] }
  | {
      type: 'function_call';
      id: string;
      status: Status;
      call_id: string;
      name: string;
      namespace?: string;
      arguments: string;
    }
  | {
      type: 'custom_tool_call';
      id: string;
      status: Status;
      call_id: string;
      name: string;
      namespace?: string;
      input: string;
    };

const NO_CALL = { callId: '', name: '', namespace: null };

export function newItem(
  type: OutputItem['type'],
  id: string,
  call: { callId: string; name: string; namespace: string | null } = NO_CALL,
): OutputItem {
  const status = 'in_progress';
  switch (type) {
    case 'message': {
      const part: TextPart = { type: 'output_text', text: '', annotations: [], logprobs: [] };
      return { type, id, status, role: 'assistant', content: [part] };
    }
    case 'reasoning':
      return { type, id, status, summary: [], content: [{ type: 'reasoning_text', text: '' }] };
    case 'function_call':
      return { type, id, status, ...identity(call), arguments: '' };
    case 'custom_tool_call':
      return { type, id, status, ...identity(call), input: '' };
  }
}

function identity({
  callId,
  name,
  namespace,
}: {
  callId: string;
  name: string;
  namespace: string | null;
}): {
  call_id: string;
  name: string;
  namespace?: string;
} {
  return { call_id: callId, name, ...(namespace === null ? {} : { namespace }) };
}

/** Calls whose arguments are whole; one that was cut off was never made. */
export function parsedCalls(calls: readonly CollectedCall[]): ToolCall[] {
  return calls.flatMap(({ id, name, json }) => {
    try {
      return [{ id, name, arguments: JSON.parse(json) as ToolCall['arguments'] }];
    } catch {
      return [];
    }
  });
}
