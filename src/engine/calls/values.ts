// Types the text of a tool-call argument by the tool's JSON schema.

import { References } from '../grammar/references.js';
import { isObject } from '../model-files.js';

/** Where a schema allows several types, the first of these that the text fits is taken. */
const ORDER = ['boolean', 'integer', 'number', 'array', 'object', 'string'] as const;
type JsonType = (typeof ORDER)[number];

/** References that lead to references. */
const DEEPEST = 16;

/**
 * Text that doesn't fit its declared types, or has none, stays text; `null` in any case is null where that is a type or
 * none is known.
 * @param schema of the one argument; undefined when it isn't declared
 * @param root where its references lead
 */
export function typedValue(text: string, schema: unknown, root: unknown = schema): unknown {
  const types = declaredTypes(schema, root);
  const mayBeNull = types.size === 0 || types.has('null');
  if (mayBeNull && text.trim().toLowerCase() === 'null') return null;
  // A lone boolean is true or it isn't; there is no third reading.
  if (types.size === 1 && types.has('boolean')) return text.trim().toLowerCase() === 'true';
  for (const type of ORDER) {
    if (!types.has(type)) continue;
    const value = READ[type](text);
    if (value !== undefined) return value;
  }
  return text;
}

const READ: Record<JsonType, (text: string) => unknown> = {
  boolean: (text) => ({ true: true, false: false })[text.trim().toLowerCase()],
  integer: (text) => {
    const value = finite(text);
    return Number.isInteger(value) ? value : undefined;
  },
  number: finite,
  array: (text) => parsed(text, Array.isArray),
  object: (text) => parsed(text, isObject),
  string: (text) => text,
};

function finite(text: string): number | undefined {
  const value = text.trim() === '' ? NaN : Number(text);
  return Number.isFinite(value) ? value : undefined;
}

function parsed(text: string, fits: (value: unknown) => boolean): unknown {
  try {
    const value: unknown = JSON.parse(text);
    return fits(value) ? value : undefined;
  } catch {
    // Not JSON: the caller passes the text on as it is.
    return undefined;
  }
}

/** Of a schema's own types, values and alternatives; empty where it says nothing of them. */
export function declaredTypes(schema: unknown, root: unknown = schema): Set<string> {
  return typesOf(schema, root, 0);
}

/** What is said of one property, wherever the schema says it; `{}` for nothing. */
export function propertySchema(root: unknown, key: string): unknown {
  const found: unknown[] = [];
  const left: [unknown, number][] = [[root, 0]];
  for (let next = left.pop(); next !== undefined; next = left.pop()) {
    const [schema, depth] = next;
    if (!isObject(schema) || depth > DEEPEST) continue;
    const { properties } = schema;
    if (isObject(properties) && Object.hasOwn(properties, key)) found.push(properties[key]);
    for (const inner of inPlace(schema, root)) left.push([inner, depth + 1]);
  }
  if (found.length === 0 && isObject(root) && isObject(root.additionalProperties)) {
    return root.additionalProperties;
  }
  return found.length > 1 ? { anyOf: found } : (found[0] ?? {});
}

/** Schemas that say something of the same value. */
function inPlace(schema: Readonly<Record<string, unknown>>, root: unknown): unknown[] {
  const { $ref } = schema;
  const lists = [schema.anyOf, schema.oneOf, schema.allOf];
  return [
    typeof $ref === 'string' ? new References(root).find(schema, $ref) : undefined,
    ...lists.flatMap((list) => (Array.isArray(list) ? (list as unknown[]) : [])),
    schema.then,
    schema.else,
  ];
}

function typesOf(schema: unknown, root: unknown, depth: number): Set<string> {
  if (!isObject(schema) || depth > DEEPEST) return new Set();
  const own: unknown[] = Array.isArray(schema.type) ? schema.type : [schema.type];
  const types = own.filter((type): type is string => typeof type === 'string');
  const values: unknown[] = Array.isArray(schema.enum)
    ? schema.enum
    : 'const' in schema
      ? [schema.const]
      : [];
  if (types.length > 0) return new Set(types);
  if (values.length > 0) return new Set(values.map(typeOf));
  return new Set(inPlace(schema, root).flatMap((each) => [...typesOf(each, root, depth + 1)]));
}

function typeOf(value: unknown): string {
  if (value === null) return 'null';
  return Array.isArray(value) ? 'array' : typeof value;
}
