// Options of a schema as commander's: typed text in, checked values out.

import { Option as Flag, InvalidArgumentError, type Command } from 'commander';
import { FlashmoeError } from '../base/errors.js';
import {
  readValue,
  valueName,
  withNothingSaid,
  type Option,
  type OptionSet,
  type Values,
} from '../settings/option.js';

/** Adds every option of the set, in its order. */
export function addOptions(command: Command, set: OptionSet): void {
  for (const each of Object.values(set)) command.addOption(flagOf(each));
}

export function flagOf(option: Option<unknown>): Flag {
  const { flags, about, kind, fallback, isRequired = false } = option;
  const flag = new Flag(flags, fallback === null ? about : `${about} (default: ${fallback})`);
  flag.makeOptionMandatory(isRequired);
  if (valueName(option) === null) return flag;
  if (kind.choices !== undefined) return flag.choices(kind.choices);
  const read = argumentReader(option, 'it');
  if (!flag.variadic) return flag.argParser(read);
  // commander hands in one value after the other, and what the ones before came to.
  return flag.argParser((text, before?: unknown[]) => [
    ...(before ?? []),
    ...(read(text) as unknown[]),
  ]);
}

/** For a positional argument that is read as an option's value is. */
export function argumentReader<Value>(
  option: Pick<Option<Value>, 'kind'>,
  name: string,
): (text: string) => Value {
  return (text) => {
    try {
      return readValue(option, name, text, Date.now());
    } catch (error) {
      if (!(error instanceof FlashmoeError)) throw error;
      throw new InvalidArgumentError(capitalised(error.message));
    }
  };
}

/** What was typed: null for every option of which nothing was said. */
export function typedValues<Set extends OptionSet>(command: Command, set: Set): Values<Set> {
  const values = withNothingSaid(set);
  for (const [name, option] of Object.entries(set)) {
    const attribute = flagOf(option).attributeName();
    // A default of commander, of --no-… for instance, is nothing that was said.
    if (command.getOptionValueSource(attribute) !== 'cli') continue;
    values[name as keyof Set] = command.getOptionValue(attribute) as Values<Set>[keyof Set];
  }
  return values;
}

function capitalised(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
