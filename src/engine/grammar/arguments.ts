// The schema of a tool's arguments: an object, and one without members where the tool declares none.

import { isObject } from '../model-files.js';
import type { ToolDefinition } from '../types.js';

/** Any of these says something of an object's members. */
const MEMBERS = [
  ...['properties', 'additionalProperties', 'patternProperties', 'required', 'minProperties'],
  ...['$ref', 'allOf', 'anyOf', 'oneOf', 'unevaluatedProperties', 'dependentSchemas', 'if'],
];

const known = new WeakMap<ToolDefinition, Readonly<Record<string, unknown>>>();

/** The same object for the same tool: its nodes are told apart by identity. */
export function argumentsSchema(tool: ToolDefinition): Readonly<Record<string, unknown>> {
  const found = known.get(tool);
  if (found !== undefined) return found;
  const { parameters = {} } = tool;
  const declares = MEMBERS.some((key) => {
    const value = parameters[key];
    return isObject(value) || Array.isArray(value)
      ? Object.keys(value).length > 0
      : value !== undefined;
  });
  const schema = {
    type: 'object',
    ...(declares ? {} : { additionalProperties: false }),
    ...parameters,
  };
  known.set(tool, schema);
  return schema;
}
