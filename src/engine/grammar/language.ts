// Regular languages as terms with union, intersection and complement, and the automaton of a term by derivatives
// (Brzozowski 1964; Owens, Reppy and Turon, "Regular-expression derivatives re-examined", 2009): the derivative of a
// language by a character is what may follow that character.

import {
  ANY_CHAR,
  charsOf,
  complement,
  hasChar,
  intersection,
  keyOf,
  NO_CHAR,
  union,
  type CharSet,
} from './char-set.js';

export interface Language {
  readonly id: number;
  readonly kind: 'set' | 'empty' | 'cat' | 'or' | 'and' | 'not' | 'repeat' | 'machine';
  /** Holds the empty text. */
  readonly nullable: boolean;
  readonly set: CharSet;
  readonly parts: readonly Language[];
  /** Of a repetition; the upper one may be Infinity. */
  readonly least: number;
  readonly most: number;
  /** And its state. */
  readonly machine: Machine | null;
  readonly state: number;
}

/** An automaton of its own, for what terms say badly. */
export interface Machine {
  /** Equal for equal machines. */
  key: string;
  start: number;
  /** As in `Languages.automaton`: within one of these all characters lead to one state. */
  classes: readonly CharSet[];
  accepts(state: number): boolean;
  /** null where nothing can follow. */
  next(state: number, code: number): number | null;
}

/** States are ordered by first visit, 0 is where a text begins. */
export interface Automaton {
  states: { accepts: boolean; next: { set: CharSet; to: number }[] }[];
}

/** Thrown where an automaton, or the terms it is made of, would be larger than allowed. */
export class TooLarge extends Error {}

const MOST_TERMS = 60_000;
/** Terms asked for and sets compared, which is what takes time: under a second of it. */
const MOST_WORK = 1_000_000;
const MOST_CLASSES = 2_000;

/** Makes terms; equal ones are the same object. */
export class Languages {
  readonly #terms = new Map<string, Language>();
  #work = 0;
  readonly #derivatives = new Map<Language, Map<string, Language>>();
  readonly #classes = new Map<Language, readonly CharSet[]>();
  readonly none = this.set(NO_CHAR);
  readonly empty = this.#term('empty', true, {});
  readonly anyChar = this.set(ANY_CHAR);
  readonly all = this.repeat(this.anyChar, 0, Infinity);

  set(set: CharSet): Language {
    return this.#term('set', false, { set });
  }

  text(text: string): Language {
    return this.cat(...Array.from(text, (char) => this.set(charsOf(char))));
  }

  cat(...parts: readonly Language[]): Language {
    const flat = parts.flatMap((part) => (part.kind === 'cat' ? part.parts : [part]));
    const said = flat.filter((part) => part !== this.empty);
    if (said.includes(this.none)) return this.none;
    if (said.length <= 1) return said[0] ?? this.empty;
    return this.#term(
      'cat',
      said.every(({ nullable }) => nullable),
      { parts: said },
    );
  }

  or(...parts: readonly Language[]): Language {
    const flat = new Set(parts.flatMap((part) => (part.kind === 'or' ? part.parts : [part])));
    flat.delete(this.none);
    if (flat.has(this.all)) return this.all;
    const sets = [...flat].filter(({ kind }) => kind === 'set');
    if (sets.length > 1) {
      for (const each of sets) flat.delete(each);
      flat.add(this.set(union(...sets.map(({ set }) => set))));
    }
    if (flat.size <= 1) return [...flat][0] ?? this.none;
    const sorted = [...flat].sort((a, b) => a.id - b.id);
    return this.#term(
      'or',
      sorted.some(({ nullable }) => nullable),
      { parts: sorted },
    );
  }

  and(...parts: readonly Language[]): Language {
    const flat = new Set(parts.flatMap((part) => (part.kind === 'and' ? part.parts : [part])));
    flat.delete(this.all);
    if (flat.has(this.none)) return this.none;
    if (flat.has(this.empty)) {
      return [...flat].every(({ nullable }) => nullable) ? this.empty : this.none;
    }
    if (flat.size <= 1) return [...flat][0] ?? this.all;
    const sorted = [...flat].sort((a, b) => a.id - b.id);
    return this.#term(
      'and',
      sorted.every(({ nullable }) => nullable),
      { parts: sorted },
    );
  }

  not(part: Language): Language {
    if (part.kind === 'not') return part.parts[0] ?? this.none;
    if (part === this.none) return this.all;
    if (part === this.all) return this.none;
    return this.#term('not', !part.nullable, { parts: [part] });
  }

  repeat(part: Language, least: number, most: number): Language {
    if (most === 0 || part === this.empty) return this.empty;
    if (least === 1 && most === 1) return part;
    if (part === this.none) return least === 0 ? this.empty : this.none;
    // Of what may be empty, fewer times say as much.
    const from = part.nullable ? 0 : least;
    return this.#term('repeat', from === 0, { parts: [part], least: from, most });
  }

  machine(machine: Machine, state = machine.start): Language {
    return this.#term('machine', machine.accepts(state), { machine, state });
  }

  /** @param code of a character */
  after(term: Language, code: number): Language {
    switch (term.kind) {
      case 'empty':
        return this.none;
      case 'set':
        return hasChar(term.set, code) ? this.empty : this.none;
      case 'or':
        return this.or(...term.parts.map((part) => this.after(part, code)));
      case 'and':
        return this.and(...term.parts.map((part) => this.after(part, code)));
      case 'not':
        return this.not(this.after(only(term), code));
      case 'repeat': {
        const rest = this.repeat(only(term), Math.max(0, term.least - 1), term.most - 1);
        return this.cat(this.after(only(term), code), rest);
      }
      case 'machine': {
        const state = term.machine?.next(term.state, code) ?? null;
        return term.machine === null || state === null
          ? this.none
          : this.machine(term.machine, state);
      }
      case 'cat': {
        const options: Language[] = [];
        for (let i = 0; i < term.parts.length; i++) {
          const part = term.parts[i] ?? this.empty;
          options.push(this.cat(this.after(part, code), ...term.parts.slice(i + 1)));
          if (!part.nullable) break;
        }
        return this.or(...options);
      }
    }
  }

  matches(term: Language, text: string): boolean {
    let rest = term;
    for (const char of text) {
      rest = this.#step(rest, char.codePointAt(0) ?? 0);
      if (rest === this.none) return false;
    }
    return rest.nullable;
  }

  /** Every state can still accept. @throws TooLarge */
  automaton(term: Language, mostStates: number): Automaton {
    const ids = new Map<Language, number>([[term, 0]]);
    const order = [term];
    const edges: { set: CharSet; to: number }[][] = [];
    for (const at of order) {
      const targets = new Map<Language, CharSet[]>();
      for (const set of this.#classesOf(at)) {
        const [[code] = [0]] = set;
        const target = this.after(at, code);
        if (target !== this.none) targets.set(target, [...(targets.get(target) ?? []), set]);
      }
      edges.push(
        [...targets].map(([target, sets]) => {
          const known = ids.get(target);
          if (known !== undefined) return { set: union(...sets), to: known };
          if (order.length === mostStates) throw new TooLarge('too many states');
          ids.set(target, order.length);
          return { set: union(...sets), to: order.push(target) - 1 };
        }),
      );
    }
    return living(order.map(({ nullable }, i) => ({ accepts: nullable, next: edges[i] ?? [] })));
  }

  #step(term: Language, code: number): Language {
    const set = this.#classesOf(term).find((each) => hasChar(each, code));
    if (set === undefined) return this.none;
    const key = String(set[0]?.[0]);
    const known = this.#derivatives.get(term) ?? new Map<string, Language>();
    this.#derivatives.set(term, known);
    const found = known.get(key) ?? this.after(term, set[0]?.[0] ?? 0);
    known.set(key, found);
    return found;
  }

  /** Sets of characters by each of which the term has one derivative; together, every character. */
  #classesOf(term: Language): readonly CharSet[] {
    const known = this.#classes.get(term);
    if (known !== undefined) return known;
    const made = this.#partition(term);
    if (made.length > MOST_CLASSES) throw new TooLarge('too many classes of characters');
    this.#classes.set(term, made);
    return made;
  }

  #partition(term: Language): readonly CharSet[] {
    switch (term.kind) {
      case 'empty':
        return [ANY_CHAR];
      case 'set':
        return [term.set, complement(term.set)].filter((set) => set.length > 0);
      case 'not':
      case 'repeat':
        return this.#classesOf(only(term));
      case 'machine':
        return term.machine?.classes ?? [ANY_CHAR];
      case 'or':
      case 'and':
        return this.#meet(term.parts);
      case 'cat': {
        const last = term.parts.findIndex(({ nullable }) => !nullable);
        return this.#meet(last < 0 ? term.parts : term.parts.slice(0, last + 1));
      }
    }
  }

  #meet(parts: readonly Language[]): readonly CharSet[] {
    let classes: readonly CharSet[] = [ANY_CHAR];
    for (const part of new Set(parts)) {
      const others = this.#classesOf(part);
      if (others.length === 1) continue;
      classes = classes.flatMap((set) =>
        others.map((other) => intersection(set, other)).filter((each) => each.length > 0),
      );
      this.#spend(classes.length * others.length);
      if (classes.length > MOST_CLASSES) throw new TooLarge('too many classes of characters');
    }
    return classes;
  }

  #spend(work: number): void {
    this.#work += work;
    if (this.#work > MOST_WORK) throw new TooLarge('too much work');
  }

  #term(
    kind: Language['kind'],
    nullable: boolean,
    rest: Partial<Omit<Language, 'id' | 'kind' | 'nullable'>>,
  ): Language {
    const { set = NO_CHAR, parts = [], least = 0, most = 0, machine = null, state = 0 } = rest;
    const made = { id: this.#terms.size, kind, nullable, set, parts, least, most, machine, state };
    this.#spend(1 + parts.length);
    const ids = parts.map(({ id }) => id).join();
    const key = [kind, keyOf(set), ids, least, most, machine?.key, state].join('|');
    const known = this.#terms.get(key);
    if (known !== undefined) return known;
    if (this.#terms.size === MOST_TERMS) throw new TooLarge('too many terms');
    this.#terms.set(key, made);
    return made;
  }
}

function only(term: Language): Language {
  const [part] = term.parts;
  if (part === undefined) throw new Error(`a ${term.kind} without a part`);
  return part;
}

/** Without the states from which nothing is accepted; the first one stays. */
function living(states: Automaton['states']): Automaton {
  const sources = states.map((): number[] => []);
  states.forEach(({ next }, from) => next.forEach(({ to }) => sources[to]?.push(from)));
  const alive = new Set(states.flatMap(({ accepts }, i) => (accepts ? [i] : [])));
  for (const at of alive) for (const from of sources[at] ?? []) alive.add(from);
  const kept = states.map((_, i) => i).filter((i) => i === 0 || alive.has(i));
  const renamed = new Map(kept.map((i, name) => [i, name]));
  return {
    states: kept.map((i) => ({
      accepts: states[i]?.accepts ?? false,
      next: (states[i]?.next ?? [])
        .filter(({ to }) => alive.has(to))
        .map(({ set, to }) => ({ set, to: renamed.get(to) ?? 0 })),
    })),
  };
}
