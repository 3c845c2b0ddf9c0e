// Options and arguments that several commands share, and how their values are read.

import { InvalidArgumentError, Option, type Command } from 'commander';
import { FlashmoeError } from '../base/errors.js';
import { BACKENDS } from '../engine/backend.js';
import { QUANTS, type Quant } from '../models/quant.js';

type Example = readonly [command: string, what: string];

export function repoOption(): Option {
  return new Option('--repo <org/name>', 'a repository of a supported family on the hub');
}

export function revisionOption(): Option {
  return new Option('--revision <name>', 'branch, tag or commit (default: main)');
}

export function fromOption(): Option {
  return new Option('--from <where>', 'checkpoint folder, Hugging Face cache, or share URL');
}

export function quantOption(what = 'of the experts (default: 4bit)'): Option {
  return new Option('--quant <bits>', what).choices(QUANTS);
}

export function sizeOption(): Option {
  return new Option('--size <bytes>', 'mixed: 4 bits where they help most, in 150GB').argParser(
    byteCount,
  );
}

export function calibrationOption(): Option {
  return new Option('--calibration <file>', '2bit, mixed: weigh errors by `flashmoe calibrate`');
}

/** A size asks for mixed widths by itself. */
export function quantOf(quant: Quant | undefined, size: number | undefined): Quant | null {
  if (size === undefined || quant === 'mixed') return quant ?? null;
  if (quant === undefined) return 'mixed';
  throw new FlashmoeError(
    'ERR_USAGE',
    `--size decides about widths, and so does --quant ${quant}`,
    {
      hint: 'leave one of the two away',
    },
  );
}

const UNITS = { B: 1, KB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12 } as const;
const BINARY_UNITS = { KIB: 2 ** 10, MIB: 2 ** 20, GIB: 2 ** 30, TIB: 2 ** 40 } as const;

/** Bytes of 150GB, 1.5TB, 139.7GiB. */
export function byteCount(text: string): number {
  const [, number, unit = ''] = /^(\d{1,9}(?:\.\d{1,6})?) ?([KMGT]?i?B)$/i.exec(text) ?? [];
  const factor: Record<string, number> = { ...UNITS, ...BINARY_UNITS };
  const bytes = Math.floor(Number(number) * (factor[unit.toUpperCase()] ?? NaN));
  if (!(bytes >= 1 && Number.isSafeInteger(bytes))) {
    throw new InvalidArgumentError('It is no number of bytes: write 150GB, 1.5TB or 140GiB');
  }
  return bytes;
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

export function backendOption(): Option {
  return new Option('--backend <name>', 'compute on (default: metal on a Mac, else cpu)').choices([
    ...BACKENDS,
  ]);
}

export function wholeNumber(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError('It is not a whole number');
  return Number(text);
}

export function portNumber(text: string): number {
  const port = wholeNumber(text);
  if (port > 65_535) throw new InvalidArgumentError('Ports end at 65535');
  return port;
}

export function temperature(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !(value >= 0 && value <= 5)) {
    throw new InvalidArgumentError('It is not a number from 0 to 5');
  }
  return value;
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
