// What may follow on a command line, the same for every shell.

import { allCommands, type CommandFacts, type OptionFacts } from '../command-tree.js';

export interface Candidate {
  word: string;
  description: string;
}

export interface Place {
  /** Words of the command that have been typed, e.g. `service install`; empty at the beginning. */
  route: string;
  candidates: Candidate[];
  /** Options that take a value, and what it may be: choices, else a file or any word. */
  values: { names: string[]; choices: readonly string[] }[];
}

/** Options of the program hold after every command, too; so does --help. */
export function places(root: CommandFacts): Place[] {
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
      values: options
        .filter(({ value }) => value !== null)
        .map(({ names, choices }) => ({ names, choices })),
    };
  });
}
