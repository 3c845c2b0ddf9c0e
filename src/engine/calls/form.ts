// The forms in which models write tool calls, told apart by the text of the chat template, never by the
// model's name. One form is a pair of tags around a call, maybe a pair around all calls, and a reader of
// what is between.

import type { ToolDefinition } from '../types.js';
import { FunctionXmlReader } from './function-xml-reader.js';
import { JsonCallReader, type CallHead } from './json-call-reader.js';
import { MarkupCallReader } from './markup-call-reader.js';
import { argKeys, DSML, INVOKES, type MarkupForm } from './markups.js';
import type { CallReader } from './call-reader.js';

export type CallFormName =
  | 'function-xml'
  | 'json-envelope'
  | 'fenced-json'
  | 'inline-json'
  | 'numbered-json'
  | 'markup'
  | 'harmony';

export interface CallForm {
  name: CallFormName;
  /** Around all calls of an answer; null where calls stand alone. */
  section: { open: string; close: string } | null;
  /** Openings and closings of a section that models also write. */
  sectionToo?: { open: string; close: string };
  open: string;
  close: string;
  /** Tokens whose text the reader needs. */
  markers: readonly string[];
  reader(tools: readonly ToolDefinition[]): CallReader;
  /** How a markup is written. */
  written?: MarkupForm['written'];
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
/** Seen instead of the plural that the template has. */
const NUMBERED_TOO = {
  open: '<|tool_call_section_begin|>',
  close: '<|tool_call_section_end|>',
};
const ARGUMENT = '<|tool_call_argument_begin|>';

/** The form a template writes calls in; null when it knows none that is read here. */
export function callForm(template: string): CallForm | null {
  if (template.includes(ARGUMENT) || template.includes(NUMBERED.open)) {
    const { open, close } = NUMBERED_TOO;
    const form = headed('numbered-json', NUMBERED, [open, close, ARGUMENT], numberedHead);
    return { ...form, sectionToo: NUMBERED_TOO };
  }
  if (template.includes(BARS.open)) {
    return template.includes('```json')
      ? headed('fenced-json', BARS, [SEPARATOR], barsHead)
      : headed('inline-json', BARS, [SEPARATOR], barsHead);
  }
  if (template.includes('<|channel|>') && template.includes('<|message|>')) return HARMONY;
  if (template.includes(DSML.section?.open ?? '')) return marked(DSML, ['｜DSML｜']);
  if (template.includes(INVOKES.section?.open ?? '')) return marked(INVOKES);
  if (template.includes('<arg_key>')) {
    const tags = ['<arg_key>', '</arg_key>', '<arg_value>', '</arg_value>'];
    return marked(argKeys(/<\/arg_key>(?:\n|\\n)/.test(template)), tags);
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

/** Calls are messages of their own there: harmony-parser.ts takes whole answers apart. */
const HARMONY: CallForm = {
  name: 'harmony',
  section: null,
  open: '<|channel|>commentary to=functions.',
  close: '<|call|>',
  markers: [],
  reader: () => {
    throw new RangeError('the parser of whole answers reads these calls');
  },
};

function marked(form: MarkupForm, further: readonly string[] = []): CallForm {
  const { section, open, close, written, markup } = form;
  const tags = section === null ? [open, close] : [section.open, section.close];
  return {
    name: 'markup',
    ...{ section, open, close, written },
    markers: [...tags, ...further],
    reader: (tools) => new MarkupCallReader(tools, markup),
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

/** `functions.NAME:IDX`; the name may hold dots and the prefix may be missing. `functionsNAMEIDX` is read for a declared name. */
function numberedHead(
  text: string,
  tools: readonly ToolDefinition[],
): { name: string; id: string } | null {
  const id = text.replace(ARGUMENT, '').trim();
  const name = /^(?:functions\.)?(.+):\d+$/.exec(id)?.[1];
  if (name !== undefined) return { name, id: `functions.${id.replace(/^functions\./, '')}` };
  const [, glued = '', index = '0'] = /^functions[.:]?(.+?):?(\d*)$/.exec(id) ?? [];
  const isDeclared = tools.some((tool) => tool.name === glued);
  return isDeclared
    ? { name: glued, id: `functions.${glued}:${index === '' ? '0' : index}` }
    : null;
}

/** `function<sep>NAME` and a fence, or `NAME<sep>` alone. */
function barsHead(text: string): { name: string; id: null } | null {
  const [before = '', after = ''] = text.split(SEPARATOR);
  const line = after.replace(/```(?:json)?\s*$/, '').trim();
  const name = line === '' ? before.trim() : line;
  return name === '' || /\s/.test(name) || !text.includes(SEPARATOR) ? null : { name, id: null };
}
