// The JSON object of a call's arguments, written member by member, so that the pieces in order are the
// object's text.

import type { ToolDefinition } from '../types.js';
import { declaredTypes, propertySchema, typedValue } from './values.js';

export class ArgumentsJson {
  readonly #root: unknown;
  #members = 0;

  constructor(tools: readonly ToolDefinition[], name: string) {
    this.#root = tools.find((tool) => tool.name === name)?.parameters;
  }

  /** Everything up to the value of `key`. */
  key(key: string): string {
    return `${this.#members++ === 0 ? '{' : ','}${JSON.stringify(key)}:`;
  }

  /** A whole member whose value the model wrote as plain text. */
  fromText(key: string, text: string): string {
    return this.key(key) + JSON.stringify(typedValue(text, this.schema(key), this.#root));
  }

  /** A whole member whose value the model wrote as JSON, maybe of another type than the schema's. */
  fromJson(key: string, value: unknown): string {
    const types = this.types(key);
    const isText = typeof value === 'string';
    const typed =
      types.size === 0 || isText === types.has('string')
        ? value
        : isText
          ? typedValue(value, this.schema(key), this.#root)
          : retyped(value, types);
    return this.key(key) + JSON.stringify(typed);
  }

  end(): string {
    return this.#members === 0 ? '{}' : '}';
  }

  schema(key: string): unknown {
    return propertySchema(this.#root, key);
  }

  types(key: string): Set<string> {
    return declaredTypes(this.schema(key), this.#root);
  }

  /** True when the value is text whatever it says, `null` apart. */
  isText(key: string): boolean {
    const types = this.types(key);
    types.delete('null');
    return types.size === 0 || (types.size === 1 && types.has('string'));
  }
}

/** A number where only text is allowed was meant as text. */
function retyped(value: unknown, types: ReadonlySet<string>): unknown {
  const kind = typeof value;
  const fits = kind === 'number' ? types.has('integer') || types.has('number') : types.has(kind);
  return types.has('string') && !fits && (kind === 'number' || kind === 'boolean')
    ? String(value)
    : value;
}
