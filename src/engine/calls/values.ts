// Types the text of a tool-call argument by the tool's JSON schema.

import { isObject } from '../model-files.js';

/** Where a schema allows several types, the first of these that the text fits is taken. */
const ORDER = ['boolean', 'integer', 'number', 'array', 'object', 'string'] as const;
type JsonType = (typeof ORDER)[number];

/**
 * `null` in any case is null; text that doesn't fit its declared type, or has none, stays text.
 * @param schema of the one argument; undefined when it isn't declared
 */
export function typedValue(text: string, schema: unknown): unknown {
  if (text.trim().toLowerCase() === 'null') return null;
  const types = declaredTypes(schema);
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

export function declaredTypes(schema: unknown): Set<string> {
  if (!isObject(schema)) return new Set();
  const own = Array.isArray(schema.type) ? schema.type : [schema.type];
  const options = [schema.anyOf, schema.oneOf].flatMap((list) =>
    Array.isArray(list) ? (list as unknown[]) : [],
  );
  const types = own.filter((type): type is string => typeof type === 'string');
  return new Set([...types, ...options.flatMap((option) => [...declaredTypes(option)])]);
}
