// The JSON object of a call's arguments, written member by member, so that the pieces in order are the
// object's text.

import { isObject } from '../model-files.js';
import type { ToolDefinition } from '../types.js';
import { declaredTypes, typedValue } from './values.js';

export class ArgumentsJson {
  readonly #properties: Record<string, unknown>;
  #members = 0;

  constructor(tools: readonly ToolDefinition[], name: string) {
    const schema = tools.find((tool) => tool.name === name)?.parameters?.properties;
    this.#properties = isObject(schema) ? schema : {};
  }

  /** Everything up to the value of `key`. */
  key(key: string): string {
    return `${this.#members++ === 0 ? '{' : ','}${JSON.stringify(key)}:`;
  }

  /** A whole member whose value the model wrote as plain text. */
  fromText(key: string, text: string): string {
    return this.key(key) + JSON.stringify(typedValue(text, this.schema(key)));
  }

  /** A whole member whose value the model wrote as JSON, maybe of another type than the schema's. */
  fromJson(key: string, value: unknown): string {
    const types = declaredTypes(this.schema(key));
    const isText = typeof value === 'string';
    const typed =
      types.size === 0 || isText === types.has('string')
        ? value
        : isText
          ? typedValue(value, this.schema(key))
          : retyped(value, types);
    return this.key(key) + JSON.stringify(typed);
  }

  end(): string {
    return this.#members === 0 ? '{}' : '}';
  }

  schema(key: string): unknown {
    return Object.hasOwn(this.#properties, key) ? this.#properties[key] : {};
  }

  /** True when the value is text whatever it says, `null` apart. */
  isText(key: string): boolean {
    const types = declaredTypes(this.schema(key));
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
