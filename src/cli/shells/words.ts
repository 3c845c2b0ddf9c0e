// What may follow on a command line, the same for every shell.

import { CHECKS } from '../../doctor/all-checks.js';
import { CATALOG } from '../../models/catalog.js';
import { MEASURED_SPEEDS } from '../../models/measured-speeds.js';
import { allCommands, type CommandFacts, type OptionFacts } from '../command-tree.js';

export interface Candidate {
  word: string;
  description: string;
}

export interface Place {
  /** Words of the command that have been typed, e.g. `service install`; empty at the beginning. */
  route: string;
  candidates: Candidate[];
  /** A model is named here: those of the catalogue, and what lies in the home when the key is pressed. */
  models: boolean;
  /** Options that take a value, and what it may be: a model, choices, else a file or any word. */
  values: { names: string[]; choices: readonly string[]; models: boolean }[];
}

/** Names of the catalogue; what is set up by other names is found by the shell. */
export const CATALOG_NAMES: readonly string[] = CATALOG.map(({ id }) => id);

/** Checks and their groups, as `--only` takes them. */
const checks = [...new Set(CHECKS.flatMap(({ id }) => [id.split('.')[0] ?? id, id]))];
/** Machines that somebody measured, as `--sim` takes them. */
const machines = [
  ...new Set(
    MEASURED_SPEEDS.map(
      ({ machine, memoryGb }) => `${machine.toLowerCase().replaceAll(' ', '-')}-${memoryGb}`,
    ),
  ),
];

/** @param skills of `eval --skills`. Options of the program hold after every command, too; so does --help. */
export function places(root: CommandFacts, skills: readonly string[]): Place[] {
  const known: Readonly<Record<string, readonly string[]>> = {
    '--only': checks,
    '--sim': machines,
    '--skills': skills,
  };
  const everywhere: OptionFacts[] = [
    ...root.options,
    { names: ['--help', '-h'], value: null, choices: [], description: 'print help' },
  ];
  return allCommands(root).map((command) => {
    const options = command === root ? everywhere : [...command.options, ...everywhere];
    return {
      route: command.path.join(' '),
      candidates: [
        ...command.commands.map(({ path, description }) => ({
          word: path.at(-1) ?? '',
          description,
        })),
        ...command.choices.map((word) => ({ word, description: '' })),
        ...options.map(({ names, description }) => ({ word: names[0] ?? '', description })),
      ],
      models: command.arguments.some((name) => name === 'model' || name === 'model-or-dir'),
      values: options
        .filter(({ value }) => value !== null)
        .map(({ names, choices }) => ({
          names,
          choices: choices.length > 0 ? choices : (known[names[0] ?? ''] ?? []),
          models: names.includes('--model'),
        })),
    };
  });
}
