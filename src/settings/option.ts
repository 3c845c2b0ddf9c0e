// One option: how it is typed, what its value may be, and what it is for. Flags, the arguments of a process that is
// started with the same choices, requests of programs, keys of settings.json and their documentation all come from it.

import * as z from 'zod';
import { FlashmoeError } from '../base/errors.js';

/** What a value may be, and how it is read from text and written as text again. */
export interface Kind<Value> {
  /** Continues "must be": `a whole number`. */
  what: string;
  schema: z.ZodType<Value>;
  /** undefined when it can't be read. `now` in milliseconds since the epoch, for times like "8h". */
  read(text: string, now: number): unknown;
  write(value: Value): string;
  /** All texts there are, for completions; absent when they can't be listed. */
  choices?: readonly string[];
}

export interface Option<Value> {
  /** `--size <bytes>`, `-y, --yes`, `--no-service`: a value in brackets is typed behind it. */
  flags: string;
  about: string;
  kind: Kind<Value>;
  /** What holds when nothing is said, in words. */
  fallback: string | null;
  /** There is no doing without it. */
  isRequired?: true;
}

// A set may hold options of any kind; `unknown` would not do, since `write` takes what `schema` gives.
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export type OptionSet = Readonly<Record<string, Option<any>>>;

/** Values by the names of a set; null: nothing was said. */
export type Values<Set extends OptionSet> = {
  -readonly [Name in keyof Set]: Set[Name] extends Option<infer Value>
    ? Set[Name] extends { isRequired: true }
      ? Value
      : Value | null
    : never;
};

export function option<Value>(
  flags: string,
  about: string,
  kind: Kind<Value>,
  fallback: string | null = null,
): Option<Value> {
  return { flags, about, kind, fallback };
}

export function required<Value>(of: Option<Value>): Option<Value> & { isRequired: true } {
  return { ...of, isRequired: true };
}

/** A switch: typed, it means true, and `--no-…` means false. */
export function toggle(flags: string, about: string): Option<boolean> {
  return { flags, about, kind: yesOrNo, fallback: null };
}

/** The long name without `--no-` and value: `--no-service` is `service`. */
export function longName({ flags }: Pick<Option<unknown>, 'flags'>): string {
  return /--(?:no-)?([a-z][a-z-]*)/.exec(flags)?.[1] ?? '';
}

/** How its value is called: `<bytes>`; null for a switch. */
export function valueName({ flags }: Pick<Option<unknown>, 'flags'>): string | null {
  return /<.+>/.exec(flags)?.[0] ?? null;
}

/** Throws ERR_USAGE; `name` is what the message calls it. */
export function readValue<Value>(
  { kind }: Pick<Option<Value>, 'kind'>,
  name: string,
  text: string,
  now: number,
): Value {
  return checkValue(kind, name, kind.read(text, now));
}

/** Throws ERR_USAGE. */
export function checkValue<Value>(kind: Kind<Value>, name: string, value: unknown): Value {
  const checked = kind.schema.safeParse(value);
  if (checked.success) return checked.data;
  throw new FlashmoeError('ERR_USAGE', `${name} must be ${kind.what}`, { subject: name });
}

/** The arguments of a command that say the same again, in the order of the set. */
export function argumentsOf<Set extends OptionSet>(
  set: Set,
  values: Partial<Values<Set>>,
): string[] {
  return Object.entries(set).flatMap(([name, each]) => {
    const value: unknown = values[name as keyof Set];
    if (value === null || value === undefined) return [];
    const long = longName(each);
    if (valueName(each) !== null) return [`--${long}`, each.kind.write(value)];
    return [value === true ? `--${long}` : `--no-${long}`];
  });
}

/** Nothing said about any of them, and what is given over it. */
export function withNothingSaid<Set extends OptionSet>(
  set: Set,
  values: Partial<Values<Set>> = {},
): Values<Set> {
  const none = Object.fromEntries(Object.keys(set).map((name) => [name, null])) as Values<Set>;
  return { ...none, ...values };
}

const yesOrNo: Kind<boolean> = {
  what: 'true or false',
  schema: z.boolean(),
  read: (text) => ({ true: true, false: false })[text],
  write: String,
  choices: ['true', 'false'],
};
