// Makes @huggingface/jinja print what Python's jinja2 prints where the two differ and a chat template
// shows it: `x | string` is True, False or None in Python. The library writes true and false, and has
// no `string` for none. The expression is replaced in the parsed template.

import { Template } from '@huggingface/jinja';

export interface ParsedTemplate {
  parsed: { body: unknown[] };
  render(items: Record<string, unknown>): string;
}

// The library's declarations name their files without extensions, which NodeNext doesn't resolve.
const Parsed = Template as unknown as new (text: string) => ParsedTemplate;

const OPERAND = '__operand';
const PYTHON_STRING =
  `{{ 'None' if ${OPERAND} is none else 'True' if ${OPERAND} is true ` +
  `else 'False' if ${OPERAND} is false else ${OPERAND} | string }}`;

interface Node {
  type?: unknown;
  value?: unknown;
  operand?: unknown;
  filter?: unknown;
}

/** A parsed template whose `string` filter prints as Python does. Throws SyntaxError as the library does. */
export function parseTemplate(text: string): ParsedTemplate {
  const template = new Parsed(text);
  template.parsed.body = template.parsed.body.map((node) => pythonic(node));
  return template;
}

function pythonic<T>(value: T): T {
  if (Array.isArray(value)) return value.map((item: unknown) => pythonic(item)) as T;
  if (value instanceof Map) {
    return new Map([...value].map(([key, item]) => [pythonic(key), pythonic(item)])) as T;
  }
  if (typeof value !== 'object' || value === null) return value;
  const node = value as Node;
  for (const key of Object.keys(node) as (keyof Node)[]) node[key] = pythonic(node[key]);
  const filter = node.filter as Node | undefined;
  if (node.type !== 'FilterExpression' || filter?.value !== 'string') return value;
  return withOperand(new Parsed(PYTHON_STRING).parsed.body[0] as T, node.operand);
}

/** Puts `operand` in the place of each identifier OPERAND. */
function withOperand<T>(value: T, operand: unknown): T {
  if (Array.isArray(value)) return value.map((item: unknown) => withOperand(item, operand)) as T;
  if (typeof value !== 'object' || value === null) return value;
  const node = value as Node;
  if (node.type === 'Identifier' && node.value === OPERAND) return operand as T;
  for (const key of Object.keys(node) as (keyof Node)[]) {
    node[key] = withOperand(node[key], operand);
  }
  return value;
}
