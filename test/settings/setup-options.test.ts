import { Command } from 'commander';
import { resolve } from 'node:path';
import { expect, test } from 'vitest';
import { addOptions, typedValues } from '../../src/cli/option-flags.js';
import { argumentsOf, longName, withNothingSaid } from '../../src/settings/option.js';
import {
  setupArguments,
  setupOptions,
  type SetupOptions,
} from '../../src/settings/setup-options.js';

type Typed = Omit<SetupOptions, 'model'>;

function parse(args: string[]): Typed {
  const command = new Command().exitOverride().configureOutput({ writeErr: () => undefined });
  addOptions(command, setupOptions);
  command.parse(args, { from: 'user' });
  return typedValues(command, setupOptions);
}

/** One text for every option: an option without one fails the test below. */
const TYPED: Record<keyof Typed, string[]> = {
  repo: ['--repo', 'acme/tiny'],
  revision: ['--revision', 'v2'],
  file: ['--file', '*Q4_K_M*'],
  from: ['--from', '~/models/x'],
  quant: ['--quant', '2bit'],
  size: ['--size', '1.5TB'],
  calibration: ['--calibration', 'cal.safetensors'],
  chatTemplate: ['--chat-template', 'mine.jinja'],
  likeMlx: ['--like-mlx'],
  keepSource: ['--keep-source'],
  service: ['--no-service'],
  limit: ['--limit', '20MB/s'],
  hours: ['--hours', '23:00-07:00'],
  deadline: ['--deadline', '8h'],
  overnight: ['--overnight'],
  yes: ['-y'],
};

test('nothing typed is nothing said', () => {
  expect(parse([])).toEqual(withNothingSaid(setupOptions));
  expect(argumentsOf(setupOptions, parse([]))).toEqual([]);
});

test.each(Object.keys(setupOptions) as (keyof Typed)[])(
  'what is typed for %s is what a second process is told, word for word or in a form that means the same',
  (name) => {
    const typed = parse(TYPED[name]);
    expect(typed[name]).not.toBeNull();
    const again = argumentsOf(setupOptions, typed);
    expect(again[0]?.replace('--no-', '--')).toBe(`--${longName(setupOptions[name])}`);
    expect(parse(again)).toEqual(typed);
  },
);

test('all of them together make one command line', () => {
  const typed = parse(Object.values(TYPED).flat());
  const args = setupArguments({ ...typed, model: 'x', json: true, home: '/h' });
  expect(args.slice(0, 3)).toEqual(['setup', '--repo', 'acme/tiny']);
  expect(args.slice(-3)).toEqual(['--json', '--home', '/h']);
  expect(parse(args.slice(1, -3))).toEqual(typed);
  expect(typed).toMatchObject({
    size: 1.5e12,
    calibration: resolve('cal.safetensors'),
    keepSource: true,
    service: false,
    limit: { bytesPerSecond: 20e6 },
    hours: { hours: { from: 23 * 60, to: 7 * 60 } },
  });
});

test.each([
  ['--size', '150', 'a number of bytes'],
  ['--limit', '5', 'a rate of 1kB/s or more'],
  ['--hours', '7', 'a range of hours'],
  ['--deadline', 'soon', 'a time: 07:00'],
  ['--calibration', '', 'an absolute path'],
])('%s %j is refused with what it must be', (flag, text, what) => {
  expect(() => parse([flag, text])).toThrow(what);
});
