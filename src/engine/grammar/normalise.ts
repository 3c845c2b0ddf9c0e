// From schemas to the shapes of what they allow. What can't be said in shapes is told by its path. The shapes are exact,
// but for keywords that were told of and left out: then they allow more.
// Over 400 lines: keywords of a schema call each other in a circle (allOf merges, not negates, $ref leads back), and the
// circle stays in one file.

import { isObject } from '../model-files.js';
import { FORMATS } from './formats.js';
import { numbersOf } from './decimal.js';
import type { Language, Languages } from './language.js';
import { TooLarge } from './language.js';
import { searchedBy } from './pattern.js';
import { References } from './references.js';
import {
  common,
  isWhole,
  kindOf,
  KINDS,
  kindOfShape,
  ofProperty,
  whole,
  type ArrayShape,
  type Conjunction,
  type Kind,
  type ObjectShape,
  type SchemaNode,
  type Shape,
} from './shapes.js';

/** Told of each keyword that can't be enforced, with its path. */
export type OnProblem = (path: string, why: string) => void;

const MOST_SHAPES = 400;
const MOST_VALUES = 4000;
const MOST_LENGTH = 4096;
const MOST_STATES = 4000;
/** How deep one looks for a required property that can't be there. */
const DEEPEST_LOOK = 12;

const KINDS_OF_TYPE: Readonly<Record<string, Kind>> = { integer: 'number' };

/** Keywords that say what is inside of something, so that nothing else has to evaluate it. */
const APPLICATORS = [
  '$ref',
  '$dynamicRef',
  'allOf',
  'anyOf',
  'oneOf',
  'if',
  'not',
  'dependentSchemas',
];

class CannotNegate extends Error {}

export class Normaliser {
  readonly #references: References;
  readonly #shapes = new Map<SchemaNode, readonly Shape[]>();
  readonly #open = new Set<SchemaNode>();
  readonly #conjunctions = new Map<string, readonly Shape[]>();
  readonly #never = new Map<string, boolean>();
  readonly #ids = new Map<SchemaNode, number>();
  readonly #paths = new Map<SchemaNode, string>();
  readonly #negated = new Map<string, SchemaNode>();

  constructor(
    root: unknown,
    path: string,
    private readonly languages: Languages,
    private readonly onProblem: OnProblem,
  ) {
    this.#references = new References(root);
    if (isObject(root)) this.#paths.set(root, path);
  }

  /** Equal for conjunctions of the same schemas. */
  keyOf(conjunction: Conjunction): string {
    const ids = conjunction.map((node) => {
      const id = this.#ids.get(node) ?? this.#ids.size;
      this.#ids.set(node, id);
      return id;
    });
    return ids.sort((a, b) => a - b).join();
  }

  pathOf(conjunction: Conjunction): string {
    return this.#path(conjunction[0] ?? false);
  }

  /**
   * Without what can't be. Where no schema of them says a type, only the kinds that they say something of: whoever
   * writes `properties` means an object.
   */
  shapesOf(conjunction: Conjunction): readonly Shape[] {
    const shapes = this.#exact(conjunction).filter((shape) => !this.#isEmpty(shape, DEEPEST_LOOK));
    const wholes = shapes.filter((shape) => isWhole(shape, this.languages));
    const inferred = wholes.length >= 4 && wholes.length < shapes.length;
    return inferred ? shapes.filter((shape) => !wholes.includes(shape)) : shapes;
  }

  isNever(conjunction: Conjunction): boolean {
    return this.#isNever(conjunction, DEEPEST_LOOK);
  }

  #exact(conjunction: Conjunction): readonly Shape[] {
    if (conjunction.includes(false)) return [];
    const key = this.keyOf(conjunction);
    const known = this.#conjunctions.get(key);
    if (known !== undefined) return known;
    let result: readonly Shape[] = this.#anything();
    for (const node of conjunction) {
      result = this.#meet(result, this.#ofNode(node), this.#path(node));
    }
    this.#conjunctions.set(key, result);
    return result;
  }

  #isNever(conjunction: Conjunction, depth: number): boolean {
    if (conjunction.includes(false)) return true;
    if (conjunction.length === 0 || depth === 0) return false;
    const key = this.keyOf(conjunction);
    const known = this.#never.get(key);
    if (known !== undefined) return known;
    // What needs itself can't be.
    this.#never.set(key, true);
    const result = this.#exact(conjunction).every((shape) => this.#isEmpty(shape, depth - 1));
    this.#never.set(key, result);
    return result;
  }

  #isEmpty(shape: Shape, depth: number): boolean {
    switch (shape.kind) {
      case 'null':
      case 'boolean':
      case 'literal':
        return false;
      case 'number': {
        const { min, max } = shape;
        if (min !== null && max !== null) {
          if (min.value > max.value) return true;
          if (min.value === max.value && (min.open || max.open)) return true;
        }
        return false;
      }
      case 'string':
        return this.#isNoText(shape.language);
      case 'array': {
        const { prefix, rest, min, max } = shape;
        if (min > max) return true;
        if (prefix.slice(0, min).some((each) => this.#isNever(each, depth))) return true;
        return min > prefix.length && this.#isNever(rest, depth);
      }
      case 'object': {
        if (shape.min > shape.max || shape.required.size > shape.max) return true;
        return [...shape.required].some(
          (name) =>
            !this.languages.matches(shape.names, name) ||
            this.#isNever(ofProperty(shape, name, this.languages), depth),
        );
      }
    }
  }

  #isNoText(language: Language): boolean {
    if (language === this.languages.all) return false;
    try {
      const [first] = this.languages.automaton(language, MOST_STATES).states;
      return first === undefined || (!first.accepts && first.next.length === 0);
    } catch (thrown) {
      // Whoever writes it down finds that out, and says it.
      if (thrown instanceof TooLarge) return false;
      throw thrown;
    }
  }

  #anything(): Shape[] {
    return KINDS.map((kind) => whole(kind, this.languages));
  }

  #ofNode(node: SchemaNode): readonly Shape[] {
    if (node === false) return [];
    const known = this.#shapes.get(node);
    if (known !== undefined) return known;
    if (this.#open.has(node)) {
      this.onProblem(this.#path(node), 'leads only to itself');
      return this.#anything();
    }
    this.#open.add(node);
    const shapes = this.#read(node, this.#path(node));
    this.#open.delete(node);
    this.#shapes.set(node, shapes);
    return shapes;
  }

  #read(node: Exclude<SchemaNode, false>, path: string): readonly Shape[] {
    let shapes = this.#meet(this.#typed(node, path), this.#own(node, path), path);
    const meet = (others: readonly Shape[], at: string): void => {
      shapes = this.#meet(shapes, others, `${path}.${at}`);
    };
    if ('const' in node) meet([{ kind: 'literal', value: node.const }], 'const');
    if (Array.isArray(node.enum)) {
      meet(
        (node.enum as unknown[]).map((value) => ({ kind: 'literal', value })),
        'enum',
      );
    }
    if (typeof node.$ref === 'string') {
      const target = this.#references.find(node, node.$ref);
      if (target === undefined) {
        this.onProblem(`${path}.$ref`, 'names nothing in this schema');
      } else meet(this.#of(target, `${path}.$ref`), '$ref');
    }
    for (const key of ['$dynamicRef', '$recursiveRef']) {
      if (key in node) this.onProblem(`${path}.${key}`, 'is not a keyword that can be enforced');
    }
    if (Array.isArray(node.allOf)) {
      node.allOf.forEach((each, i) => meet(this.#of(each, `${path}.allOf[${i}]`), 'allOf'));
    }
    for (const key of ['anyOf', 'oneOf'] as const) {
      const list: unknown = node[key];
      if (!Array.isArray(list)) continue;
      const options = list.map((each, i) => this.#of(each, `${path}.${key}[${i}]`));
      meet(key === 'anyOf' ? options.flat() : this.#oneOf(options, `${path}.oneOf`), key);
    }
    if ('not' in node) {
      const rest = this.#not(this.#of(node.not, `${path}.not`), `${path}.not`);
      if (rest !== null) meet(rest, 'not');
    }
    if ('if' in node && ('then' in node || 'else' in node)) {
      const condition = this.#of(node.if, `${path}.if`);
      const otherwise = this.#not(condition, `${path}.if`);
      if (otherwise !== null) {
        const branch = (key: 'then' | 'else'): readonly Shape[] =>
          key in node ? this.#of(node[key], `${path}.${key}`) : this.#anything();
        meet(
          [
            ...this.#meet(condition, branch('then'), path),
            ...this.#meet(otherwise, branch('else'), path),
          ],
          'if',
        );
      }
    }
    this.#dependencies(node, path, meet);
    return this.#distinct(shapes, path);
  }

  #of(value: unknown, path: string): readonly Shape[] {
    return this.#exact(this.#child(value, path));
  }

  /** A schema inside of another, as a conjunction. */
  #child(value: unknown, path: string): Conjunction {
    if (value === true) return [];
    if (value === false) return [false];
    if (!isObject(value)) {
      this.onProblem(path, 'is not a schema');
      return [];
    }
    if (!this.#paths.has(value)) this.#paths.set(value, path);
    return [value];
  }

  #path(node: SchemaNode): string {
    return this.#paths.get(node) ?? 'schema';
  }

  #typed(node: Exclude<SchemaNode, false>, path: string): readonly Shape[] {
    if (node.type === undefined) return this.#anything();
    const types: unknown[] = Array.isArray(node.type) ? node.type : [node.type];
    return types.flatMap((type): Shape[] => {
      const kind = KINDS_OF_TYPE[String(type)] ?? KINDS.find((each) => each === type);
      if (kind === undefined) {
        this.onProblem(`${path}.type`, `${JSON.stringify(type)} is no type`);
        return this.#anything();
      }
      const shape = whole(kind, this.languages);
      // Whole numbers are among the numbers.
      if (type === 'integer' && types.includes('number')) return [];
      return [shape.kind === 'number' && type === 'integer' ? { ...shape, integer: true } : shape];
    });
  }

  /** Of the keywords that say something of one kind each. */
  #own(node: Exclude<SchemaNode, false>, path: string): readonly Shape[] {
    return [
      { kind: 'null' },
      { kind: 'boolean' },
      this.#number(node, path),
      this.#string(node, path),
      this.#array(node, path),
      this.#object(node, path),
    ];
  }

  #count(node: Exclude<SchemaNode, false>, key: string, path: string, otherwise: number): number {
    const value = node[key];
    if (value === undefined) return otherwise;
    if (typeof value === 'number' && value >= 0 && Number.isInteger(value)) return value;
    this.onProblem(`${path}.${key}`, 'is not a whole number of at least 0');
    return otherwise;
  }

  #number(node: Exclude<SchemaNode, false>, path: string): Shape {
    const value = (key: string): number | null => {
      const found = node[key];
      // In draft 4 it is a flag of minimum or maximum.
      if (found === undefined || typeof found === 'boolean') return null;
      if (typeof found === 'number' && Number.isFinite(found)) return found;
      this.onProblem(`${path}.${key}`, 'is not a number');
      return null;
    };
    const sides = (['Minimum', 'Maximum'] as const).map((side) => {
      const limit = value(side.toLowerCase());
      const beyond = value(`exclusive${side}`);
      const isFlag = node[`exclusive${side}`] === true;
      const tighter =
        beyond !== null &&
        (limit === null || (side === 'Minimum' ? beyond >= limit : beyond <= limit));
      if (tighter) return { value: beyond, open: true };
      return limit === null ? null : { value: limit, open: isFlag };
    });
    const multiple = value('multipleOf');
    if (multiple !== null && multiple <= 0) {
      this.onProblem(`${path}.multipleOf`, 'is not above 0');
    }
    const multiples = multiple !== null && multiple > 0 ? [multiple] : [];
    const [min = null, max = null] = sides;
    for (const [key, range] of [
      ['multipleOf', { integer: false, min: null, max: null, multiples }],
      ['minimum', { integer: true, min, max: null, multiples: [] }],
      ['maximum', { integer: true, min: null, max, multiples: [] }],
    ] as const) {
      if (numbersOf(range, this.languages) !== null) continue;
      this.onProblem(`${path}.${key}`, 'is too large or too fine to be enforced');
      return whole('number', this.languages);
    }
    return { kind: 'number', integer: false, min, max, multiples };
  }

  #string(node: Exclude<SchemaNode, false>, path: string): Shape {
    const { languages } = this;
    const parts: Language[] = [];
    if (typeof node.pattern === 'string') {
      const found = searchedBy(node.pattern, languages);
      if (found !== null) parts.push(found);
      else this.onProblem(`${path}.pattern`, 'is no regular expression that can be enforced');
    }
    if (typeof node.format === 'string' && Object.hasOwn(FORMATS, node.format)) {
      const found = searchedBy(`^(${FORMATS[node.format] ?? ''})$`, languages);
      if (found !== null) parts.push(found);
    }
    let min = this.#count(node, 'minLength', path, 0);
    let max = this.#count(node, 'maxLength', path, Infinity);
    if (min > MOST_LENGTH) {
      this.onProblem(`${path}.minLength`, `over ${MOST_LENGTH} is too large`);
      min = 0;
    }
    // A shorter limit is within a longer one.
    if (max !== Infinity) max = Math.min(max, Math.max(min, MOST_LENGTH));
    if (min > 0 || max !== Infinity) {
      parts.push(max < min ? languages.none : languages.repeat(languages.anyChar, min, max));
    }
    return { kind: 'string', language: languages.and(...parts) };
  }

  #array(node: Exclude<SchemaNode, false>, path: string): Shape {
    // Up to draft 2019-09 a list of `items` was what `prefixItems` is now.
    const list: unknown = Array.isArray(node.items) ? node.items : node.prefixItems;
    const restKey = Array.isArray(node.items) ? 'additionalItems' : 'items';
    const prefix = (Array.isArray(list) ? (list as unknown[]) : []).map((item, i) =>
      this.#child(item, `${path}.prefixItems[${i}]`),
    );
    let rest = node[restKey] === undefined ? [] : this.#child(node[restKey], `${path}.${restKey}`);
    if (node.unevaluatedItems !== undefined && node.unevaluatedItems !== true) {
      if (this.#evaluatesAlone(node) && !('contains' in node)) {
        if (node[restKey] === undefined) {
          rest = this.#child(node.unevaluatedItems, `${path}.unevaluatedItems`);
        }
      } else this.onProblem(`${path}.unevaluatedItems`, 'cannot be enforced beside other schemas');
    }
    if (node.contains !== undefined && node.minContains !== 0) {
      this.onProblem(`${path}.contains`, 'is not a keyword that can be enforced');
    } else if (node.contains !== undefined && node.maxContains !== undefined) {
      this.onProblem(`${path}.maxContains`, 'is not a keyword that can be enforced');
    }
    const shape: ArrayShape = {
      kind: 'array',
      prefix,
      rest,
      min: this.#count(node, 'minItems', path, 0),
      max: this.#count(node, 'maxItems', path, Infinity),
      unique: node.uniqueItems === true,
    };
    if (shape.min > MOST_LENGTH) {
      this.onProblem(`${path}.minItems`, `over ${MOST_LENGTH} is too large`);
      shape.min = 0;
    }
    return shape;
  }

  #evaluatesAlone(node: Exclude<SchemaNode, false>): boolean {
    return !APPLICATORS.some((key) => key in node);
  }

  #object(node: Exclude<SchemaNode, false>, path: string): Shape {
    const properties = new Map<string, Conjunction>();
    for (const [name, value] of Object.entries(isObject(node.properties) ? node.properties : {})) {
      properties.set(name, this.#child(value, `${path}.properties.${name}`));
    }
    const patterns: ObjectShape['patterns'][number][] = [];
    for (const [pattern, value] of Object.entries(
      isObject(node.patternProperties) ? node.patternProperties : {},
    )) {
      const names = searchedBy(pattern, this.languages);
      const at = `${path}.patternProperties.${pattern}`;
      if (names !== null) patterns.push({ names, conjunction: this.#child(value, at) });
      else this.onProblem(at, 'is no regular expression that can be enforced');
    }
    let key = 'additionalProperties';
    if (
      node.unevaluatedProperties !== undefined &&
      node.unevaluatedProperties !== true &&
      node.additionalProperties === undefined
    ) {
      if (this.#evaluatesAlone(node)) key = 'unevaluatedProperties';
      else {
        const at = `${path}.unevaluatedProperties`;
        this.onProblem(at, 'cannot be enforced beside other schemas');
      }
    }
    const rest = node[key] === undefined ? [] : this.#child(node[key], `${path}.${key}`);
    const except = {
      names: new Set(properties.keys()),
      patterns: patterns.map(({ names }) => names),
    };
    const required = (Array.isArray(node.required) ? (node.required as unknown[]) : []).filter(
      (name): name is string => typeof name === 'string',
    );
    return {
      kind: 'object',
      properties,
      patterns,
      rest: rest.length === 0 ? [] : [{ conjunction: rest, except }],
      open: node[key] !== undefined && node[key] !== false,
      names: this.#names(node, path),
      required: new Set(required),
      min: this.#count(node, 'minProperties', path, 0),
      max: this.#count(node, 'maxProperties', path, Infinity),
    };
  }

  #names(node: Exclude<SchemaNode, false>, path: string): Language {
    const { languages } = this;
    if (node.propertyNames === undefined) return languages.all;
    const shapes = this.#of(node.propertyNames, `${path}.propertyNames`);
    return languages.or(
      ...shapes.map((shape) => {
        if (shape.kind === 'string') return shape.language;
        const isText = shape.kind === 'literal' && typeof shape.value === 'string';
        return isText ? languages.text(shape.value as string) : languages.none;
      }),
    );
  }

  /** `dependentRequired`, `dependentSchemas`, and `dependencies`, which was both. */
  #dependencies(
    node: Exclude<SchemaNode, false>,
    path: string,
    meet: (others: readonly Shape[], at: string) => void,
  ): void {
    for (const key of ['dependentRequired', 'dependentSchemas', 'dependencies']) {
      const entries = Object.entries(isObject(node[key]) ? node[key] : {});
      for (const [name, value] of entries) {
        const object = whole('object', this.languages) as ObjectShape;
        const others = this.#anything().filter(({ kind }) => kind !== 'object');
        const without = { ...object, properties: new Map([[name, [false] as Conjunction]]) };
        const needed = Array.isArray(value) ? (value as string[]) : [];
        const having = { ...object, required: new Set([name, ...needed]) };
        const then = Array.isArray(value)
          ? [having]
          : this.#meet([having], this.#of(value, `${path}.${key}.${name}`), path);
        meet([...others, without, ...then], key);
      }
    }
  }

  #meet(left: readonly Shape[], right: readonly Shape[], path: string): readonly Shape[] {
    const result: Shape[] = [];
    for (const one of left) {
      for (const other of right) {
        const shape = this.#common(one, other);
        if (shape !== null) result.push(shape);
      }
    }
    return this.#distinct(result, path);
  }

  #common(left: Shape, right: Shape): Shape | null {
    if (left.kind === 'literal') return this.#allows(right, left.value) ? left : null;
    if (right.kind === 'literal') return this.#allows(left, right.value) ? right : null;
    return left.kind === right.kind ? common(left, right, this.languages) : null;
  }

  /** Whether a value is among a shape's. */
  #allows(shape: Shape, value: unknown): boolean {
    if (kindOfShape(shape) !== kindOf(value)) return false;
    switch (shape.kind) {
      case 'null':
      case 'boolean':
        return true;
      case 'literal':
        return isSame(shape.value, value);
      case 'number': {
        const text = numbersOf(shape, this.languages);
        if (shape.integer && !Number.isInteger(value)) return false;
        const { min, max, multiples } = shape;
        const number = value as number;
        if (min !== null && (min.open ? number <= min.value : number < min.value)) return false;
        if (max !== null && (max.open ? number >= max.value : number > max.value)) return false;
        if (multiples.length === 0) return true;
        return text !== null && this.languages.matches(text, String(number));
      }
      case 'string':
        return this.languages.matches(shape.language, value as string);
      case 'array': {
        const items = value as unknown[];
        const fits = (item: unknown, i: number): boolean =>
          this.allows(shape.prefix[i] ?? shape.rest, item);
        if (items.length < shape.min || items.length > shape.max || !items.every(fits))
          return false;
        return (
          !shape.unique ||
          !items.some((item, i) => items.slice(0, i).some((each) => isSame(each, item)))
        );
      }
      case 'object': {
        const entries = Object.entries(value as object);
        if (entries.length < shape.min || entries.length > shape.max) return false;
        if (![...shape.required].every((name) => Object.hasOwn(value as object, name)))
          return false;
        return entries.every(
          ([name, item]) =>
            this.languages.matches(shape.names, name) &&
            this.allows(ofProperty(shape, name, this.languages), item),
        );
      }
    }
  }

  allows(conjunction: Conjunction, value: unknown): boolean {
    return this.#exact(conjunction).some((shape) => this.#allows(shape, value));
  }

  #oneOf(options: readonly (readonly Shape[])[], path: string): readonly Shape[] {
    try {
      return options.flatMap((option, i) => {
        let rest = option;
        for (const [j, other] of options.entries()) {
          if (i === j) continue;
          const overlap = this.#meet(rest, other, path).filter(
            (shape) => !this.#isEmpty(shape, DEEPEST_LOOK),
          );
          if (overlap.length > 0) rest = this.#meet(rest, this.#negate(other, path), path);
        }
        return rest;
      });
    } catch (thrown) {
      if (!(thrown instanceof CannotNegate)) throw thrown;
      this.onProblem(path, 'can be enforced only where its schemas can be told apart');
      return options.flat();
    }
  }

  #not(shapes: readonly Shape[], path: string): readonly Shape[] | null {
    try {
      return this.#negate(shapes, path);
    } catch (thrown) {
      if (!(thrown instanceof CannotNegate)) throw thrown;
      this.onProblem(path, 'cannot be enforced for a schema like this');
      return null;
    }
  }

  #negate(shapes: readonly Shape[], path: string): readonly Shape[] {
    let result: readonly Shape[] = this.#anything();
    for (const shape of shapes) {
      if (this.#isEmpty(shape, DEEPEST_LOOK)) continue;
      const kind = kindOfShape(shape);
      const others = this.#anything().filter((each) => each.kind !== kind);
      result = this.#meet(result, [...others, ...this.#within(shape)], path);
    }
    return result;
  }

  /** What of a shape's kind isn't in it. */
  #within(shape: Shape): readonly Shape[] {
    const { languages } = this;
    if (isWhole(shape, languages)) return [];
    switch (shape.kind) {
      case 'literal':
        return this.#others(shape.value);
      case 'string':
        return [{ kind: 'string', language: languages.not(shape.language) }];
      case 'number': {
        if (shape.integer || shape.multiples.length > 0) throw new CannotNegate();
        const all = {
          kind: 'number' as const,
          integer: false,
          min: null,
          max: null,
          multiples: [],
        };
        const flip = ({ value, open }: { value: number; open: boolean }) => ({
          value,
          open: !open,
        });
        return [
          ...(shape.min === null ? [] : [{ ...all, max: flip(shape.min) }]),
          ...(shape.max === null ? [] : [{ ...all, min: flip(shape.max) }]),
        ];
      }
      case 'array': {
        if (shape.unique || shape.rest.length > 0) throw new CannotNegate();
        const all = whole('array', languages) as ArrayShape;
        const { min, max, prefix } = shape;
        return [
          ...(min > 0 ? [{ ...all, max: min - 1 }] : []),
          ...(max < Infinity ? [{ ...all, min: max + 1 }] : []),
          ...prefix.flatMap((each, i) =>
            each.length === 0
              ? []
              : [
                  {
                    ...all,
                    min: i + 1,
                    prefix: [...prefix.slice(0, i).map(() => []), this.#inverse(each)],
                  },
                ],
          ),
        ];
      }
      case 'object': {
        const { min, max, required, properties, patterns, rest, names } = shape;
        if (patterns.length > 0 || rest.length > 0 || names !== languages.all)
          throw new CannotNegate();
        const all = whole('object', languages) as ObjectShape;
        return [
          ...(min > 0 ? [{ ...all, max: min - 1 }] : []),
          ...(max < Infinity ? [{ ...all, min: max + 1 }] : []),
          ...[...required].map((name) => ({
            ...all,
            properties: new Map([[name, [false] as Conjunction]]),
          })),
          ...[...properties]
            .filter(([, each]) => each.length > 0)
            .map(([name, each]) => ({
              ...all,
              required: new Set([name]),
              properties: new Map([[name, this.#inverse(each)]]),
            })),
        ];
      }
      default:
        return [];
    }
  }

  /** Of a value's kind, all but the value. */
  #others(value: unknown): readonly Shape[] {
    const { languages } = this;
    if (typeof value === 'string') {
      return [{ kind: 'string', language: languages.not(languages.text(value)) }];
    }
    if (typeof value === 'number') {
      const all = { kind: 'number' as const, integer: false, min: null, max: null, multiples: [] };
      const side = { value, open: true };
      return [
        { ...all, max: side },
        { ...all, min: side },
      ];
    }
    if (typeof value === 'boolean') return [{ kind: 'literal', value: !value }];
    if (value === null) return [];
    throw new CannotNegate();
  }

  #inverse(conjunction: Conjunction): Conjunction {
    if (conjunction.includes(false)) return [];
    const key = this.keyOf(conjunction);
    const known = this.#negated.get(key) ?? { not: { allOf: [...conjunction] } };
    this.#negated.set(key, known);
    this.#paths.set(known, this.pathOf(conjunction));
    return [known];
  }

  #distinct(shapes: readonly Shape[], path: string): readonly Shape[] {
    const seen = new Map<string, Shape>();
    for (const shape of shapes) {
      const key = this.#shapeKey(shape);
      if (!seen.has(key)) seen.set(key, shape);
    }
    const distinct = [...seen.values()];
    const values = distinct.filter(({ kind }) => kind === 'literal').length;
    if (values <= MOST_VALUES && distinct.length - values <= MOST_SHAPES) return distinct;
    this.onProblem(path, 'has too many alternatives to be enforced');
    return distinct.slice(0, MOST_SHAPES);
  }

  #shapeKey(shape: Shape): string {
    const of = (conjunction: Conjunction): string => `(${this.keyOf(conjunction)})`;
    switch (shape.kind) {
      case 'null':
      case 'boolean':
        return shape.kind;
      case 'literal':
        return `=${JSON.stringify(shape.value)}`;
      case 'number':
        return `number ${JSON.stringify([shape.integer, shape.min, shape.max, shape.multiples])}`;
      case 'string':
        return `string ${shape.language.id}`;
      case 'array': {
        const { prefix, rest, min, max, unique } = shape;
        return `array ${prefix.map(of).join('')} ${of(rest)} ${min} ${max} ${unique}`;
      }
      case 'object': {
        const { properties, patterns, rest, open, names, required, min, max } = shape;
        return [
          'object',
          ...[...properties].map(([name, each]) => `${JSON.stringify(name)}${of(each)}`),
          ...patterns.map((each) => `~${each.names.id}${of(each.conjunction)}`),
          ...rest.map(
            ({ conjunction, except }) =>
              `*${of(conjunction)}${JSON.stringify([...except.names])}${except.patterns.map(({ id }) => id).join()}`,
          ),
          JSON.stringify([...required].sort()),
          open,
          names.id,
          min,
          max,
        ].join(' ');
      }
    }
  }
}

function isSame(left: unknown, right: unknown): boolean {
  if (left === right) return true;
  if (kindOf(left) !== kindOf(right)) return false;
  if (Array.isArray(left) && Array.isArray(right)) {
    return left.length === right.length && left.every((item, i) => isSame(item, right[i]));
  }
  if (!isObject(left) || !isObject(right)) return false;
  const names = Object.keys(left);
  return (
    names.length === Object.keys(right).length &&
    names.every((name) => Object.hasOwn(right, name) && isSame(left[name], right[name]))
  );
}
