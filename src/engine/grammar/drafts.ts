// Schemas of older drafts as draft 2020-12 writes them.

import { isObject } from '../model-files.js';

type Schema = Readonly<Record<string, unknown>>;

/** Of these, the values are schemas by name. */
const BY_NAME = [
  ...['properties', 'patternProperties', '$defs', 'definitions', 'dependentSchemas'],
  'dependencies',
];
/** These hold values, not schemas. */
const VALUES = ['enum', 'const', 'default', 'examples', 'example', 'required'];

export function asDraft2020(schema: Schema): Schema {
  return lifted(schema) as Schema;
}

function lifted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(lifted);
  if (!isObject(value)) return value;
  const result: Record<string, unknown> = {};
  for (const [key, inner] of Object.entries(value)) {
    if (VALUES.includes(key)) result[key] = inner;
    else if (BY_NAME.includes(key) && isObject(inner)) {
      result[key] = Object.fromEntries(
        Object.entries(inner).map(([name, each]) => [name, lifted(each)]),
      );
    } else result[key] = lifted(inner);
  }
  delete result.$schema;
  // An `id` is no keyword any more, and two schemas may have the same `$id`.
  delete result.id;
  if (Array.isArray(result.items)) {
    result.prefixItems = result.items;
    delete result.items;
    if (result.additionalItems !== undefined) result.items = result.additionalItems;
  }
  delete result.additionalItems;
  flag(result, 'exclusiveMinimum', 'minimum');
  flag(result, 'exclusiveMaximum', 'maximum');
  if (isObject(result.dependencies)) {
    const entries = Object.entries(result.dependencies);
    const lists = entries.filter(([, each]) => Array.isArray(each));
    const schemas = entries.filter(([, each]) => !Array.isArray(each));
    if (lists.length > 0) result.dependentRequired = Object.fromEntries(lists);
    if (schemas.length > 0) result.dependentSchemas = Object.fromEntries(schemas);
    delete result.dependencies;
  }
  return result;
}

/** In draft 4 an exclusive bound is a flag of the other. */
function flag(schema: Record<string, unknown>, exclusive: string, bound: string): void {
  if (typeof schema[exclusive] !== 'boolean') return;
  if (schema[exclusive] && schema[bound] !== undefined) {
    schema[exclusive] = schema[bound];
    delete schema[bound];
  } else delete schema[exclusive];
}
