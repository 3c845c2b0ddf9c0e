// The values that a schema allows, as alternatives of one kind each, and what two of them have in common. What is
// inside arrays and objects stays a conjunction of schemas, looked at when it is needed: schemas may lead to themselves.

import type { NumberRange } from './decimal.js';
import type { Language, Languages } from './language.js';

/** A schema's node; `true` never occurs in a conjunction, `false` alone. */
export type SchemaNode = Readonly<Record<string, unknown>> | false;
/** What all of these allow; none: anything. */
export type Conjunction = readonly SchemaNode[];

export interface NumberShape extends NumberRange {
  kind: 'number';
}
export interface StringShape {
  kind: 'string';
  language: Language;
}
export interface ArrayShape {
  kind: 'array';
  prefix: readonly Conjunction[];
  /** Of items behind the prefix. */
  rest: Conjunction;
  min: number;
  max: number;
  /** Held to by the check of the whole answer. */
  unique: boolean;
}
export interface ObjectShape {
  kind: 'object';
  properties: ReadonlyMap<string, Conjunction>;
  /** Of names in a language. */
  patterns: readonly { names: Language; conjunction: Conjunction }[];
  /** Of further names, in order of mention: each leaves out what its own schema names. */
  rest: readonly { conjunction: Conjunction; except: Exception }[];
  /** Some schema says itself that further names may come. */
  open: boolean;
  names: Language;
  required: ReadonlySet<string>;
  min: number;
  max: number;
}
/** Names that `additionalProperties` of one schema isn't about. */
export interface Exception {
  names: ReadonlySet<string>;
  patterns: readonly Language[];
}
export type Shape =
  | { kind: 'null' | 'boolean' }
  | { kind: 'literal'; value: unknown }
  | NumberShape
  | StringShape
  | ArrayShape
  | ObjectShape;

export type Kind = 'null' | 'boolean' | 'number' | 'string' | 'array' | 'object';
export const KINDS: readonly Kind[] = ['null', 'boolean', 'number', 'string', 'array', 'object'];

/** All values of a kind. */
export function whole(kind: Kind, languages: Languages): Shape {
  switch (kind) {
    case 'null':
    case 'boolean':
      return { kind };
    case 'number':
      return { kind, integer: false, min: null, max: null, multiples: [] };
    case 'string':
      return { kind, language: languages.all };
    case 'array':
      return { kind, prefix: [], rest: [], min: 0, max: Infinity, unique: false };
    case 'object':
      return {
        kind,
        properties: new Map(),
        patterns: [],
        rest: [],
        open: false,
        names: languages.all,
        required: new Set(),
        min: 0,
        max: Infinity,
      };
  }
}

/** Of a type's name; what is no type is text. */
export function kindOfType(type: string): Kind {
  if (type === 'integer') return 'number';
  return KINDS.find((kind) => kind === type) ?? 'string';
}

export function kindOf(value: unknown): Kind {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  const type = typeof value;
  return type === 'boolean' || type === 'number' || type === 'string' ? type : 'object';
}

export function kindOfShape(shape: Shape): Kind {
  return shape.kind === 'literal' ? kindOf(shape.value) : shape.kind;
}

/** True where a shape says nothing but its kind. */
export function isWhole(shape: Shape, languages: Languages): boolean {
  switch (shape.kind) {
    case 'null':
    case 'boolean':
      return true;
    case 'literal':
      return false;
    case 'number':
      return !shape.integer && !shape.min && !shape.max && shape.multiples.length === 0;
    case 'string':
      return shape.language === languages.all;
    case 'array':
      return (
        shape.prefix.length === 0 &&
        shape.rest.length === 0 &&
        shape.min === 0 &&
        shape.max === Infinity &&
        !shape.unique
      );
    case 'object':
      return (
        shape.properties.size === 0 &&
        shape.patterns.length === 0 &&
        shape.rest.length === 0 &&
        shape.names === languages.all &&
        shape.required.size === 0 &&
        shape.min === 0 &&
        shape.max === Infinity
      );
  }
}

export function both(left: Conjunction, right: Conjunction): Conjunction {
  if (left.includes(false) || right.includes(false)) return [false];
  return [...new Set([...left, ...right])];
}

/** Two shapes of one kind, neither a literal. */
export function common(left: Shape, right: Shape, languages: Languages): Shape {
  if (left.kind === 'number' && right.kind === 'number') {
    return {
      kind: 'number',
      integer: left.integer || right.integer,
      min: tighter(left.min, right.min, 1),
      max: tighter(left.max, right.max, -1),
      multiples: [...new Set([...left.multiples, ...right.multiples])],
    };
  }
  if (left.kind === 'string' && right.kind === 'string') {
    return { kind: 'string', language: languages.and(left.language, right.language) };
  }
  if (left.kind === 'array' && right.kind === 'array') {
    const length = Math.max(left.prefix.length, right.prefix.length);
    const item = ({ prefix, rest }: ArrayShape, i: number): Conjunction => prefix[i] ?? rest;
    return {
      kind: 'array',
      prefix: Array.from({ length }, (_, i) => both(item(left, i), item(right, i))),
      rest: both(left.rest, right.rest),
      min: Math.max(left.min, right.min),
      max: Math.min(left.max, right.max),
      unique: left.unique || right.unique,
    };
  }
  if (left.kind === 'object' && right.kind === 'object') {
    const properties = new Map(left.properties);
    for (const [name, conjunction] of right.properties) {
      properties.set(name, both(properties.get(name) ?? [], conjunction));
    }
    return {
      kind: 'object',
      properties,
      patterns: [...left.patterns, ...right.patterns],
      rest: [...left.rest, ...right.rest],
      open: left.open || right.open,
      names: languages.and(left.names, right.names),
      required: new Set([...left.required, ...right.required]),
      min: Math.max(left.min, right.min),
      max: Math.min(left.max, right.max),
    };
  }
  return left;
}

function tighter(
  left: NumberRange['min'],
  right: NumberRange['min'],
  sign: 1 | -1,
): NumberRange['min'] {
  if (left === null || right === null) return left ?? right;
  const order = (left.value - right.value) * sign;
  if (order !== 0) return order > 0 ? left : right;
  return left.open ? left : right;
}

/** What is said of one property: by its name, by patterns, or as one of the others. */
export function ofProperty(
  { properties, patterns, rest }: ObjectShape,
  name: string,
  languages: Languages,
): Conjunction {
  let result = properties.get(name) ?? [];
  for (const { names, conjunction } of patterns) {
    if (languages.matches(names, name)) result = both(result, conjunction);
  }
  for (const { conjunction, except } of rest) {
    const isNamed =
      except.names.has(name) || except.patterns.some((each) => languages.matches(each, name));
    if (!isNamed) result = both(result, conjunction);
  }
  return result;
}
