// The tool-call form <function=NAME><parameter=KEY>VALUE</parameter></function>, each tag on its own
// line. Models forget closing tags; those of the last parameter and the function may be missing.

import { isObject } from './model-files.js';
import { typedValue } from './tool-call-values.js';
import type { ToolCall, ToolDefinition } from './types.js';

const PARAMETER = /<parameter=([^>\n]+)>/g;
const PARAMETER_END = /<\/parameter>|\n<parameter=|\n<\/function>/g;

/** The body of one call, or null when it names no function. */
export function readFunctionXml(
  body: string,
  tools: readonly ToolDefinition[],
): Omit<ToolCall, 'id'> | null {
  const opening = /<function=([^>\n]+)>/.exec(body);
  const name = opening?.[1]?.trim() ?? '';
  if (opening === null || name === '') return null;
  const schema = tools.find((tool) => tool.name === name)?.parameters?.properties;
  const properties = isObject(schema) ? schema : {};
  const values: [string, unknown][] = [];
  PARAMETER.lastIndex = opening.index + opening[0].length;
  for (let match = PARAMETER.exec(body); match !== null; match = PARAMETER.exec(body)) {
    const key = (match[1] ?? '').trim();
    const { value, end } = readValue(body, PARAMETER.lastIndex);
    PARAMETER.lastIndex = end;
    values.push([key, typedValue(value, Object.hasOwn(properties, key) ? properties[key] : {})]);
  }
  return { name, arguments: Object.fromEntries(values) };
}

/** True when `body` ends outside a parameter's value: a closing call tag there is one, not text. */
export function isFunctionXmlClosed(body: string): boolean {
  const opened = body.lastIndexOf('<parameter=');
  return opened < 0 || body.indexOf('</parameter>', opened) >= 0;
}

function readValue(body: string, from: number): { value: string; end: number } {
  PARAMETER_END.lastIndex = from;
  const end = PARAMETER_END.exec(body)?.index ?? body.length;
  return { value: body.slice(from, end).replace(/^\n/, '').replace(/\n$/, ''), end };
}
