// Options and arguments that several commands share, and how their values are read.

import { InvalidArgumentError, Option, type Command } from 'commander';
import { FlashmoeError } from '../base/errors.js';
import { QUANTS, type Quant } from '../models/quant.js';

type Example = readonly [command: string, what: string];

export function quantOption(what: string): Option {
  return new Option('--quant <bits>', what).choices(QUANTS);
}

/** A size asks for mixed widths by itself. */
export function quantOf<Made extends Quant>(
  quant: Made | null,
  size: number | null,
): Made | 'mixed' | null {
  if (size === null || quant === 'mixed' || quant === 'tiered') return quant;
  if (quant === null) return 'mixed';
  throw new FlashmoeError(
    'ERR_USAGE',
    `--size decides about widths, and so does --quant ${quant}`,
    {
      hint: 'leave one of the two away',
    },
  );
}

export function oneModel(argument: string | undefined, option: string | undefined): string | null {
  if (argument !== undefined && option !== undefined && argument !== option) {
    throw new FlashmoeError('ERR_USAGE', `${argument} and --model ${option} are two models`);
  }
  return argument ?? option ?? null;
}

export function modelOption(): Option {
  return new Option('--model <name>', 'a name of `flashmoe status`');
}

export function settingModelOption(): Option {
  return new Option('--model <name>', 'for this model only: a name of `flashmoe status`');
}

export function wholeNumber(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError('It is not a whole number');
  return Number(text);
}

const EXAMPLES = new WeakMap<Command, readonly Example[]>();

/** Those that `examples` was given. */
export function examplesOf(command: Command): readonly Example[] {
  return EXAMPLES.get(command) ?? [];
}

/** House rule: examples come before options. */
export function examples(command: Command, lines: readonly Example[]): void {
  EXAMPLES.set(command, lines);
  const width = Math.max(...lines.map(([text]) => text.length));
  const text = lines.map(([example, what]) => `  ${example.padEnd(width)}  ${what}`).join('\n');
  command.addHelpText('before', `Examples:\n${text}\n`);
}
