// Which JSON schemas the grammar library really holds an answer to. It ignores what it doesn't know, so
// everything not known here to be enforced is refused by name, or left out where that was allowed. The
// lists are from trying each keyword with version 0.1.27.

import { isObject, type JsonObject } from '../model-files.js';

const ANNOTATIONS = new Set([
  ...['title', 'description', 'default', 'examples', '$schema', '$id', '$comment', 'deprecated'],
  ...['readOnly', 'writeOnly', 'contentMediaType', 'contentEncoding'],
]);
const FORMATS = new Set([
  ...['date', 'time', 'date-time', 'duration', 'email', 'hostname', 'ipv4', 'ipv6', 'uuid', 'uri'],
  ...['uri-reference', 'json-pointer'],
]);
const STRUCTURE = new Set([
  ...['type', 'properties', 'required', 'additionalProperties', 'items', 'prefixItems', 'minItems'],
  ...['maxItems', 'enum', 'const', 'anyOf', 'oneOf', 'allOf', '$ref', '$defs', 'definitions'],
  ...['minLength', 'maxLength', 'pattern', 'format', 'minimum', 'maximum', 'exclusiveMinimum'],
  ...['exclusiveMaximum', 'minProperties', 'maxProperties'],
]);
/** Of these a schema may have one; the library looks at the first and forgets the rest. */
const ALTERNATIVES = ['$ref', 'enum', 'const', 'anyOf', 'oneOf', 'allOf'];
const LARGEST = Number.MAX_SAFE_INTEGER;
const DEEPEST = 48;
const MOST_REPEATS = 4096;

/** Told of each keyword that can't be enforced, with its path. */
export type OnProblem = (path: string, why: string) => void;

/** A schema that says what `schema` says and is enforced whole; less than that where `onProblem` returns. */
export function enforceable(schema: unknown, path: string, onProblem: OnProblem): JsonObject {
  const root = isObject(schema) ? schema : {};
  return new Reader(root, onProblem).read(schema, path, 0);
}

class Reader {
  constructor(
    private readonly root: JsonObject,
    private readonly onProblem: OnProblem,
  ) {}

  read(schema: unknown, path: string, depth: number): JsonObject {
    if (schema === true) return {};
    if (!isObject(schema)) return this.#drop(path, 'is not a schema that anything fits');
    if (depth > DEEPEST) return this.#drop(path, 'is nested too deeply');
    const result: JsonObject = {};
    const chosen = ALTERNATIVES.find((key) => key in schema);
    for (const [key, value] of Object.entries(schema)) {
      const at = `${path}.${key}`;
      if (ANNOTATIONS.has(key)) continue;
      const isDefinition = key === '$defs' || key === 'definitions';
      if (!STRUCTURE.has(key)) this.#drop(at, 'is not a keyword that can be enforced');
      else if (isDefinition) result[key] = this.#each(value, at, depth);
      else if (chosen === undefined) this.#keyword(result, schema, key, at, depth);
      else if (key === chosen) this.#alternative(result, key, value, at, depth);
      else if (key !== 'type') this.#drop(at, `cannot be enforced beside ${chosen}`);
    }
    return result;
  }

  #drop(path: string, why: string): JsonObject {
    this.onProblem(path, why);
    return {};
  }

  #each(value: unknown, path: string, depth: number): JsonObject {
    const entries = Object.entries(isObject(value) ? value : {});
    return Object.fromEntries(
      entries.map(([key, item]) => [key, this.read(item, `${path}.${key}`, depth + 1)]),
    );
  }

  #alternative(result: JsonObject, key: string, value: unknown, at: string, depth: number): void {
    if (key === 'const') result.const = value;
    else if (key === '$ref') {
      if (this.#isDefined(value)) result.$ref = value;
      else this.#drop(at, 'names nothing in this schema, or only itself');
    } else if (!Array.isArray(value) || value.length === 0) {
      this.#drop(at, 'is not a list with something in it');
    } else if (key === 'enum') {
      result.enum = value;
    } else {
      const options = value.map((option, i) => this.read(option, `${at}[${i}]`, depth + 1));
      if (key === 'allOf' && options.length > 1)
        this.#drop(at, 'of several schemas cannot be enforced');
      else if (key === 'oneOf' && !areDisjoint(options)) {
        this.#drop(at, 'can be enforced only where types tell its schemas apart');
        result.anyOf = options;
      } else result[key === 'allOf' ? 'allOf' : 'anyOf'] = options;
    }
  }

  #keyword(result: JsonObject, schema: JsonObject, key: string, at: string, depth: number): void {
    const value = schema[key];
    const nested = (): JsonObject => this.read(value, at, depth + 1);
    switch (key) {
      case 'properties':
        result.properties = this.#each(value, at, depth);
        break;
      case 'items':
        result.items = value === false ? false : nested();
        break;
      case 'additionalProperties':
        result.additionalProperties = typeof value === 'boolean' ? value : nested();
        break;
      case 'prefixItems':
        result.prefixItems = (Array.isArray(value) ? value : []).map((item, i) =>
          this.read(item, `${at}[${i}]`, depth + 1),
        );
        break;
      case 'required': {
        const properties = isObject(schema.properties) ? schema.properties : {};
        const names = (Array.isArray(value) ? value : []) as string[];
        const strangers = names.filter((name) => !Object.hasOwn(properties, name));
        if (strangers.length > 0) this.#drop(at, `names "${strangers[0]}", which is no property`);
        result.required = names.filter((name) => Object.hasOwn(properties, name));
        break;
      }
      case 'pattern': {
        const pattern = jsonPattern(value);
        if (pattern === null) this.#drop(at, 'is no regular expression that can be enforced');
        else result.pattern = pattern;
        break;
      }
      case 'format':
        if ('pattern' in schema) this.#drop(at, 'cannot be enforced beside pattern');
        else if (FORMATS.has(value as string)) result.format = value;
        else this.#drop(at, `${String(value)} cannot be enforced`);
        break;
      case 'minLength':
      case 'maxLength':
        if ('pattern' in schema || 'format' in schema) {
          this.#drop(at, 'cannot be enforced beside pattern or format');
        } else if (Number(value) > MOST_REPEATS)
          this.#drop(at, `over ${MOST_REPEATS} is too large`);
        else result[key] = value;
        break;
      case 'minimum':
      case 'maximum':
      case 'exclusiveMinimum':
      case 'exclusiveMaximum':
        if (schema.type === 'integer') Object.assign(result, integerBounds(schema));
        else this.#drop(at, 'can be enforced for integers only');
        break;
      default:
        result[key] = value;
    }
  }

  /** Follows references that lead to references, as far as the first schema. */
  #isDefined(ref: unknown): boolean {
    const seen = new Set<unknown>();
    for (let at = ref; !seen.has(at);) {
      seen.add(at);
      if (at === '#') return true;
      const [, room, name] = /^#\/(\$defs|definitions)\/([^/~%]+)$/.exec(String(at)) ?? [];
      const defs = room === undefined ? undefined : this.root[room];
      if (!isObject(defs) || name === undefined || !Object.hasOwn(defs, name)) return false;
      const target = defs[name];
      if (!isObject(target) || target.$ref === undefined) return true;
      at = target.$ref;
    }
    return false;
  }
}

/** A single bound isn't enforced; two are. */
function integerBounds(schema: JsonObject): JsonObject {
  const bound = (value: unknown, otherwise: number): number =>
    typeof value === 'number' ? value : otherwise;
  return {
    minimum: Math.max(
      Math.ceil(bound(schema.minimum, -LARGEST)),
      Math.floor(bound(schema.exclusiveMinimum, -LARGEST - 1)) + 1,
    ),
    maximum: Math.min(
      Math.floor(bound(schema.maximum, LARGEST)),
      Math.ceil(bound(schema.exclusiveMaximum, LARGEST + 1)) - 1,
    ),
  };
}

function areDisjoint(options: readonly JsonObject[]): boolean {
  const types = options.map(({ type }) => type);
  const isSingle = types.every((type) => typeof type === 'string');
  const distinct = new Set(types).size === types.length;
  return isSingle && distinct && !(types.includes('integer') && types.includes('number'));
}

/**
 * The pattern for the library, which puts it between quotes as it is and takes it as anchored: whatever
 * could match a quote, a backslash or a control character is narrowed or refused.
 */
function jsonPattern(value: unknown): string | null {
  if (typeof value !== 'string') return null;
  const any = '[^"\\\\\\x00-\\x1f]';
  const starts = value.startsWith('^');
  const ends = /(^|[^\\])\$$/.test(value);
  const core = value.slice(starts ? 1 : 0, ends ? -1 : undefined);
  const token =
    /\\[dwDWsS.+*?()[\]{}|^$/-]|\(\?[^:]|\(\?:|\[\^?(?:\\[dw.+*?()[\]{}|^$/-]|[^\]\\"])*\]|[^\\]/gsu;
  let result = '';
  let read = 0;
  for (const [piece] of core.matchAll(token)) {
    read += piece.length;
    if (/^(?:\\[sSDW]|"|\(\?[^:]|\^|\$|\[\^|[\x00-\x1f])/.test(piece)) return null;
    result += piece === '.' ? any : piece;
  }
  if (read !== core.length) return null;
  return `${starts ? '' : `${any}*`}(${result})${ends ? '' : `${any}*`}`;
}
