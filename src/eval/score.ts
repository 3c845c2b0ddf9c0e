// What counts as right. The same rules as the reference evaluation in tools/tiny-model/score.py.

import { isDeepStrictEqual } from 'node:util';
import type { Expectation, ObjectSchema } from './records.js';

export interface Answer {
  /** Without reasoning and calls. */
  text: string;
  /** `json` is the arguments' text, whole unless the answer was cut off. */
  calls: { name: string; json: string }[];
}

export function isRight(expect: Expectation, { text, calls }: Answer): boolean {
  if ('calls' in expect) {
    const made = calls.map(({ name, json }) => ({ name, arguments: parsed(json) }));
    return text.trim() === '' && isDeepStrictEqual(made, expect.calls);
  }
  if (calls.length > 0) return false;
  if ('text' in expect) return text.trim() === expect.text;
  const value = parsed(text);
  return fits(value, expect.schema) && isDeepStrictEqual(value, expect.object);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Text that is no JSON is a wrong answer, not a failure.
    return undefined;
  }
}

/** Exactly the schema's properties, each of its type. */
function fits(value: unknown, { properties, required }: ObjectSchema): boolean {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  return (
    required.every((key) => Object.hasOwn(value, key)) &&
    Object.entries(value).every(([key, item]) => {
      const type = properties[key]?.type;
      return type !== undefined && hasType(item, type);
    })
  );
}

function hasType(value: unknown, type: string): boolean {
  if (type === 'array') return Array.isArray(value) && value.every((v) => typeof v === 'string');
  if (type === 'integer') return Number.isInteger(value);
  return typeof value === type;
}
