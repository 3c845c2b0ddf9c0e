// The commands as plain facts, read from their definitions: what completions and the manual page are made from, so
// that a new command appears in both by itself.

import type { Command, Option } from 'commander';
import { examplesOf } from './command-options.js';

export interface OptionFacts {
  /** As typed: `--json`, `-y`. */
  names: string[];
  /** How its value is called in the help, e.g. <port>; null for a switch. */
  value: string | null;
  choices: readonly string[];
  description: string;
}

export interface CommandFacts {
  /** Words behind the program's name; empty for the program itself. */
  path: string[];
  description: string;
  usage: string;
  options: OptionFacts[];
  /** Fixed values of positional arguments. */
  choices: readonly string[];
  /** Names of positional arguments, e.g. `model`. */
  arguments: readonly string[];
  commands: CommandFacts[];
  examples: readonly (readonly [command: string, what: string])[];
}

export function commandTree(command: Command, path: string[] = []): CommandFacts {
  return {
    path,
    description: command.description(),
    usage: command.usage(),
    options: command.options.filter(({ hidden }) => !hidden).map(optionFacts),
    choices: command.registeredArguments.flatMap(({ argChoices }) => argChoices ?? []),
    arguments: command.registeredArguments.map((each) => each.name()),
    commands: command.commands.map((child) => commandTree(child, [...path, child.name()])),
    examples: examplesOf(command),
  };
}

function optionFacts({ long, short, flags, argChoices, description }: Option): OptionFacts {
  return {
    names: [long, short].filter((name): name is string => typeof name === 'string'),
    value: /[<[].+[>\]]/.exec(flags)?.[0] ?? null,
    choices: argChoices ?? [],
    description,
  };
}

/** The command and everything below it, parents first. */
export function allCommands(root: CommandFacts): CommandFacts[] {
  return [root, ...root.commands.flatMap(allCommands)];
}
