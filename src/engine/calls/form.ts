// The forms in which models write tool calls, told apart by the text of the chat template, never by the
// model's name. One form is a pair of tags around a call, maybe a pair around all calls, and a reader of
// what is between.

import type { ToolDefinition } from '../types.js';
import { FunctionXmlReader } from './function-xml.js';
import { JsonCallReader, type CallHead } from './json-call.js';
import type { CallReader } from './reader.js';

export type CallFormName =
  'function-xml' | 'json-envelope' | 'fenced-json' | 'inline-json' | 'numbered-json';

export interface CallForm {
  name: CallFormName;
  /** Around all calls of an answer; null where calls stand alone. */
  section: { open: string; close: string } | null;
  open: string;
  close: string;
  /** Tokens whose text the reader needs. */
  markers: readonly string[];
  reader(tools: readonly ToolDefinition[]): CallReader;
}

const TAGS = { open: '<tool_call>', close: '</tool_call>' };
const BARS = {
  section: { open: '<｜tool▁calls▁begin｜>', close: '<｜tool▁calls▁end｜>' },
  open: '<｜tool▁call▁begin｜>',
  close: '<｜tool▁call▁end｜>',
};
const SEPARATOR = '<｜tool▁sep｜>';
const NUMBERED = {
  section: { open: '<|tool_calls_section_begin|>', close: '<|tool_calls_section_end|>' },
  open: '<|tool_call_begin|>',
  close: '<|tool_call_end|>',
};
const ARGUMENT = '<|tool_call_argument_begin|>';

/** The form a template writes calls in; null when it knows none that is read here. */
export function callForm(template: string): CallForm | null {
  if (template.includes(ARGUMENT) || template.includes(NUMBERED.open)) {
    return headed('numbered-json', NUMBERED, [ARGUMENT], numberedHead);
  }
  if (template.includes(BARS.open)) {
    return template.includes('```json')
      ? headed('fenced-json', BARS, [SEPARATOR], barsHead)
      : headed('inline-json', BARS, [SEPARATOR], barsHead);
  }
  if (!template.includes(TAGS.open)) return null;
  const frame = { ...TAGS, section: null, markers: [TAGS.open, TAGS.close] };
  if (template.includes('<function=') && template.includes('<parameter=')) {
    return { name: 'function-xml', ...frame, reader: (tools) => new FunctionXmlReader(tools) };
  }
  if (!/\\?"arguments\\?"/.test(template)) return null;
  return {
    name: 'json-envelope',
    ...frame,
    reader: (tools) => new JsonCallReader(tools, TAGS.close, null),
  };
}

function headed(
  name: CallFormName,
  frame: Pick<CallForm, 'open' | 'close'> & { section: { open: string; close: string } },
  further: readonly string[],
  head: CallHead,
): CallForm {
  const { section, open, close } = frame;
  return {
    name,
    ...frame,
    markers: [section.open, section.close, open, close, ...further],
    reader: (tools) => new JsonCallReader(tools, close, head),
  };
}

/** `functions.NAME:IDX`; the name may hold dots and the prefix may be missing. */
function numberedHead(text: string): { name: string; id: string } | null {
  const id = text.replace(ARGUMENT, '').trim();
  const name = /^(?:functions\.)?(.+):\d+$/.exec(id)?.[1];
  return name === undefined ? null : { name, id: `functions.${id.replace(/^functions\./, '')}` };
}

/** `function<sep>NAME` and a fence, or `NAME<sep>` alone. */
function barsHead(text: string): { name: string; id: null } | null {
  const [before = '', after = ''] = text.split(SEPARATOR);
  const line = after.replace(/```(?:json)?\s*$/, '').trim();
  const name = line === '' ? before.trim() : line;
  return name === '' || /\s/.test(name) || !text.includes(SEPARATOR) ? null : { name, id: null };
}
