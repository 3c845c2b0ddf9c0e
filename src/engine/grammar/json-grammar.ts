// The grammar of the JSON texts that a schema allows. Objects have the properties that the schema names in its order,
// further ones behind them, never under a name that the schema has: a reader would take the last of two.

import { numbersOf, spellingsOf } from './decimal.js';
import { asIs, inJson, literal, Rules } from './ebnf.js';
import { TooLarge, type Language, type Languages } from './language.js';
import { Normaliser, type OnProblem } from './normalise.js';
import {
  both,
  ofProperty,
  type ArrayShape,
  type Conjunction,
  type NumberShape,
  type ObjectShape,
  type Shape,
} from './shapes.js';

const MOST_BYTES = 2 ** 20;
const MOST_STATES = 4000;
/** Kinds of further properties that patterns tell apart. */
const MOST_PATTERNS = 4;
/** Places times counts that an object's grammar has rules for. */
const MOST_PLACES = 4000;
/** Digits of what comes as a number without bounds: a longer one might be read as infinity. */
const NUMBER = '"-"? ("0" | [1-9] [0-9]{0,19}) ("." [0-9]+)? ([eE] [+\\-]? [0-9]{1,2})?';
const INTEGER = '"-"? ("0" | [1-9] [0-9]{0,19})';
const CHAR = '[^"\\\\\\u0000-\\u001f]';
const ESCAPE =
  '"\\\\" (["\\\\/bfnrt] | "u" ([0-9a-cA-CeEfF] [0-9a-fA-F]{3} | [dD] [0-7] [0-9a-fA-F]{2}))';
/** Between the parts of JSON. Bounded, so that nobody writes blanks for ever. */
const SPACE = '(" "? | "\\n" [ \\t]{0,40})';

/** One property and how it may come. */
export interface Member {
  name: string;
  conjunction: Conjunction;
  required: boolean;
}

/** How an object's members are written. */
export interface ObjectForm {
  open: string;
  close: string;
  between: string;
  /** Rules of one member, or of further ones: in a language of names. null where the form can't say it. */
  member(name: string, conjunction: Conjunction): string | null;
  others(names: Language, conjunction: Conjunction): string | null;
}

export class JsonGrammar {
  readonly rules = new Rules(MOST_BYTES);
  readonly normaliser: Normaliser;
  readonly #values = new Map<string, string>();
  readonly #automata = new Map<string, string[]>();
  #space: string | null = null;
  #any: string | null = null;
  #string: string | null = null;

  constructor(
    root: unknown,
    path: string,
    private readonly onProblem: OnProblem,
    readonly languages: Languages,
  ) {
    this.normaliser = new Normaliser(root, path, languages, onProblem);
  }

  /** The name of a rule for a value in JSON. */
  readonly value = (conjunction: Conjunction): string => {
    if (conjunction.length === 0) return this.any();
    const key = this.normaliser.keyOf(conjunction);
    const known = this.#values.get(key);
    if (known !== undefined) return known;
    const name = this.rules.reserve();
    this.#values.set(key, name);
    const options = this.options(this.normaliser.shapesOf(conjunction), conjunction);
    if (options.length === 0) {
      this.onProblem(this.normaliser.pathOf(conjunction), 'allows nothing that can be written');
      this.rules.set(name, this.any());
    } else this.rules.set(name, options.join(' | '));
    return name;
  };

  /** One expression for each kind of value among the shapes. */
  options(shapes: readonly Shape[], conjunction: Conjunction): string[] {
    const result: string[] = [];
    const texts: Language[] = [];
    const numbers: Language[] = [];
    const { languages } = this;
    for (const shape of shapes) {
      switch (shape.kind) {
        case 'null':
          result.push('"null"');
          break;
        case 'boolean':
          result.push('"true"', '"false"');
          break;
        case 'number': {
          const isFree = !shape.min && !shape.max && shape.multiples.length === 0;
          if (isFree) result.push(shape.integer ? INTEGER : NUMBER);
          else numbers.push(this.#number(shape, conjunction));
          break;
        }
        case 'string':
          texts.push(shape.language);
          break;
        case 'array':
          result.push(this.#array(shape));
          break;
        case 'object':
          result.push(...this.#object(shape, conjunction));
          break;
        case 'literal': {
          const { value } = shape;
          if (typeof value === 'string') texts.push(languages.text(value));
          else if (typeof value === 'number') numbers.push(spellingsOf(value, languages));
          else result.push(this.#constant(value));
        }
      }
    }
    if (numbers.length > 0) {
      result.push(...this.automaton(languages.or(...numbers), conjunction, false));
    }
    const text = languages.or(...texts);
    if (text === languages.all) result.push(this.string());
    else {
      for (const inner of this.automaton(text, conjunction, true)) {
        result.push(`"\\"" ${inner} "\\""`);
      }
    }
    return [...new Set(result)];
  }

  /** An expression, or none for the empty language; `quoted`: as inside of quotes. */
  automaton(language: Language, conjunction: Conjunction, quoted: boolean): string[] {
    if (language === this.languages.none) return [];
    const key = `${language.id} ${quoted}`;
    const known = this.#automata.get(key);
    if (known !== undefined) return known;
    const made = this.#automaton(language, conjunction, quoted);
    this.#automata.set(key, made);
    return made;
  }

  #automaton(language: Language, conjunction: Conjunction, quoted: boolean): string[] {
    try {
      const automaton = this.languages.automaton(language, MOST_STATES);
      const [first] = automaton.states;
      if (first === undefined || (!first.accepts && first.next.length === 0)) return [];
      return [this.rules.add(this.rules.automaton(automaton, quoted ? inJson : asIs))];
    } catch (thrown) {
      if (!(thrown instanceof TooLarge)) throw thrown;
      const at = this.normaliser.pathOf(conjunction);
      this.onProblem(at, `is too complicated to be enforced: ${thrown.message}`);
      return [quoted ? `${CHAR}*` : NUMBER];
    }
  }

  /** A whole grammar of whatever JSON there is. */
  anything(): string {
    return this.rules.text(this.any());
  }

  any(): string {
    if (this.#any !== null) return this.#any;
    const name = (this.#any = this.rules.reserve());
    const ws = this.space();
    const text = this.string();
    const member = this.rules.add(`${text} ${ws} ":" ${ws} ${name}`);
    const object = `"{" ${ws} (${member} ${ws} ("," ${ws} ${member} ${ws})*)? "}"`;
    const array = `"[" ${ws} (${name} ${ws} ("," ${ws} ${name} ${ws})*)? "]"`;
    this.rules.set(name, [object, array, text, NUMBER, '"true"', '"false"', '"null"'].join(' | '));
    return name;
  }

  string(): string {
    return (this.#string ??= this.rules.add(`"\\"" (${CHAR} | ${ESCAPE})* "\\""`));
  }

  space(): string {
    return (this.#space ??= this.rules.add(SPACE));
  }

  #number(shape: NumberShape, conjunction: Conjunction): Language {
    const language = numbersOf(shape, this.languages);
    if (language !== null) return language;
    this.onProblem(this.normaliser.pathOf(conjunction), 'has bounds that cannot be enforced');
    return this.languages.none;
  }

  #constant(value: unknown): string {
    const ws = this.space();
    const list = (items: string[]): string => items.join(` ${ws} "," ${ws} `);
    if (typeof value === 'string') {
      const [inner = '""'] = this.automaton(this.languages.text(value), [], true);
      return `"\\"" ${inner} "\\""`;
    }
    if (typeof value === 'number') {
      return this.automaton(spellingsOf(value, this.languages), [], false)[0] ?? NUMBER;
    }
    if (Array.isArray(value)) {
      const items = value.map((item) => this.#constant(item));
      return `"[" ${ws} ${items.length === 0 ? '' : `${list(items)} ${ws}`} "]"`;
    }
    if (typeof value === 'object' && value !== null) {
      const members = Object.entries(value).map(
        ([name, item]) => `${this.#constant(name)} ${ws} ":" ${ws} ${this.#constant(item)}`,
      );
      return `"{" ${ws} ${members.length === 0 ? '' : `${list(members)} ${ws}`} "}"`;
    }
    return literal(String(value));
  }

  #array({ prefix, rest, min, max }: ArrayShape): string {
    const { normaliser } = this;
    const ws = this.space();
    const restIsNever = normaliser.isNever(rest);
    const ended = prefix.findIndex((each) => normaliser.isNever(each));
    const fixed = ended < 0 ? prefix : prefix.slice(0, ended);
    const most = Math.min(max, ended >= 0 || restIsNever ? fixed.length : Infinity);
    const item = (i: number): string => this.value(fixed[i] ?? rest);
    // What may follow `at` items, each with its comma.
    const behind = (at: number): string => {
      if (at >= most) return '""';
      const next = `"," ${ws} ${item(at)} ${ws}`;
      if (at >= fixed.length) {
        const least = Math.max(0, min - at);
        if (most === Infinity && least === 0) return `(${next})*`;
        if (most === Infinity) return `(${next}){${least}} (${next})*`;
        return `(${next}){${least},${most - at}}`;
      }
      const rule = this.rules.add(`${next} ${behind(at + 1)}`);
      return at >= min ? `${rule}?` : rule;
    };
    if (most === 0) return `"[" ${ws} "]"`;
    const items = `${item(0)} ${ws} ${behind(1)}`;
    return `"[" ${ws} ${min > 0 ? items : `(${items})?`} "]"`;
  }

  #object(shape: ObjectShape, conjunction: Conjunction): string[] {
    const ws = this.space();
    return this.object(shape, conjunction, {
      open: `"{" ${ws}`,
      close: `"}"`,
      between: `"," ${ws}`,
      member: (name, value) => `${this.#constant(name)} ${ws} ":" ${ws} ${this.value(value)} ${ws}`,
      others: (names, value) => {
        const text =
          names === this.languages.all
            ? [this.string()]
            : this.automaton(names, conjunction, true).map((each) => `"\\"" ${each} "\\""`);
        return text.length === 0 ? null : `${text[0]} ${ws} ":" ${ws} ${this.value(value)} ${ws}`;
      },
    });
  }

  /** Properties that a shape names and that can be, in its order. */
  readonly membersOf = (shape: ObjectShape): Member[] => {
    const names = new Set([...shape.properties.keys(), ...shape.required]);
    return [...names]
      .map((name) => ({
        name,
        conjunction: ofProperty(shape, name, this.languages),
        required: shape.required.has(name),
      }))
      .filter(
        ({ name, conjunction }) =>
          this.languages.matches(shape.names, name) && !this.normaliser.isNever(conjunction),
      );
  };

  /** None where the shape allows nothing in this form. */
  object(shape: ObjectShape, conjunction: Conjunction, form: ObjectForm): string[] {
    const written = this.membersOf(shape).map((member) => ({
      ...member,
      rule: form.member(member.name, member.conjunction),
    }));
    if (written.some(({ rule, required }) => rule === null && required)) return [];
    const members = written.filter(({ rule }) => rule !== null);
    const needsMore = shape.min > members.length;
    // Where nothing is said of further names, they come only if something has to.
    const mayHaveMore = shape.open || members.length === 0 || needsMore;
    const others = mayHaveMore ? this.#others(shape, form) : [];
    const required = members.filter((member) => member.required).length;
    // Two names that nobody gave may be one.
    const certain = members.length + (others.length > 0 ? 1 : 0);
    if (shape.min > certain) {
      if (others.length > 0) {
        const at = `${this.normaliser.pathOf(conjunction)}.minProperties`;
        this.onProblem(at, 'needs more names than the schema gives');
      }
      return [];
    }
    if (required > shape.max) return [];
    const places = new Map<string, string>();
    const cap = shape.max === Infinity ? Math.max(1, shape.min) : shape.max + 1;
    if ((members.length + 1) * (cap + 1) > MOST_PLACES) {
      const at = this.normaliser.pathOf(conjunction);
      this.onProblem(at, 'counts too many properties to be enforced');
      return [];
    }
    // Behind the members before `at`, of which `count` came; with further ones, none of those follows.
    const from = (at: number, count: number): string | null => {
      const key = `${at} ${count}`;
      const known = places.get(key);
      if (known !== undefined) return known === '' ? null : known;
      const made = this.#from(at, count, { members, others, shape, cap, form }, from);
      const name = made === null || made === '""' ? made : this.rules.add(made);
      places.set(key, name ?? '');
      return name;
    };
    const body = from(0, 0);
    return body === null ? [] : [`${form.open} ${body} ${form.close}`];
  }

  #from(
    at: number,
    count: number,
    all: {
      members: readonly { rule: string | null; required: boolean }[];
      others: readonly string[];
      shape: ObjectShape;
      cap: number;
      form: ObjectForm;
    },
    from: (at: number, count: number) => string | null,
  ): string | null {
    const { members, others, shape, cap, form } = all;
    const between = count > 0 ? `${form.between} ` : '';
    const member = members[at];
    if (member !== undefined) {
      const options: string[] = [];
      if (count < shape.max) {
        const rest = from(at + 1, Math.min(cap, count + 1));
        if (rest !== null) options.push(`${between}${member.rule ?? ''} ${rest}`);
      }
      if (!member.required) {
        const rest = from(at + 1, count);
        if (rest !== null) options.push(rest);
      }
      return options.length === 0 ? null : options.join(' | ');
    }
    const isEnough = count >= shape.min;
    const left = shape.max - count;
    if (others.length === 0 || left <= 0 || count + 1 < shape.min) return isEnough ? '""' : null;
    const one = `(${others.join(' | ')})`;
    const more =
      left === Infinity
        ? `(${form.between} ${one})*`
        : left === 1
          ? ''
          : `(${form.between} ${one}){0,${left - 1}}`;
    const some = `${between}${one} ${more}`;
    return isEnough ? `(${some})?` : some;
  }

  /** Rules of further members, one for each way in which patterns fit a name. */
  #others(shape: ObjectShape, form: ObjectForm): string[] {
    const { languages, normaliser } = this;
    const names = [...new Set([...shape.properties.keys(), ...shape.required])];
    // Each with the names it is about.
    const rules = [
      ...shape.patterns.map(({ names: language, conjunction }) => ({ language, conjunction })),
      ...shape.rest.map(({ conjunction, except }) => ({
        language: languages.not(
          languages.or(
            ...[...except.names].map((name) => languages.text(name)),
            ...except.patterns,
          ),
        ),
        conjunction,
      })),
    ];
    const distinct = [
      ...new Map(
        rules.map((rule) => [`${rule.language.id} ${normaliser.keyOf(rule.conjunction)}`, rule]),
      ).values(),
    ];
    if (distinct.length > MOST_PATTERNS + 1) return [];
    const free = languages.and(
      shape.names,
      languages.not(languages.or(...names.map((name) => languages.text(name)))),
    );
    const result: string[] = [];
    for (let choice = 0; choice < 2 ** distinct.length; choice++) {
      let language = free;
      let conjunction: Conjunction = [];
      for (const [i, rule] of distinct.entries()) {
        const fits = (choice >> i) % 2 === 1;
        language = languages.and(language, fits ? rule.language : languages.not(rule.language));
        if (fits) conjunction = both(conjunction, rule.conjunction);
      }
      if (normaliser.isNever(conjunction)) continue;
      const rule = form.others(language, conjunction);
      if (rule !== null) result.push(rule);
    }
    return result;
  }
}
