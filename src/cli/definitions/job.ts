// Commands for a setup that is running, from any terminal.

import type { Command } from 'commander';
import { examples } from '../command-options.js';
import type { Done, Open } from '../definition.js';
import type { LimitChange } from '../../jobs/limits.js';
import { setupOptions } from '../../settings/setup-options.js';
import { argumentReader } from '../option-flags.js';

const MODEL = 'a name of `flashmoe status`, where several are at work';

export function defineJob(program: Command, open: Open, done: Done): void {
  defineAttach(program, open, done);
  defineLimit(program, open, done);
  defineHours(program, open, done);
  for (const [name, what, example] of [
    ['pause', 'hold the running setup; its bytes are kept', 'until `flashmoe resume`'],
    ['resume', 'let a paused setup go on', 'from where it was held'],
    ['stop', 'end the running setup in good order', '`flashmoe setup` goes on later'],
  ] as const) {
    const command = program
      .command(name)
      .description(what)
      .argument('[model]', MODEL)
      .action(async (model: string | undefined) => {
        const { tell } = await import('../commands/job.js');
        done(await tell(await open(command), model ?? null, name));
      });
    examples(command, [[`flashmoe ${name}`, example]]);
  }
}

function defineAttach(program: Command, open: Open, done: Done): void {
  const command = program
    .command('attach')
    .description('watch the setup that is running; leaving does not stop it')
    .argument('[model]', MODEL)
    .action(async (model: string | undefined) => {
      const { attach } = await import('../commands/job.js');
      done(await attach(await open(command), model ?? null));
    });
  examples(command, [
    ['flashmoe attach', 'the same view as in the terminal that began it'],
    ['flashmoe attach --json', 'its events, from the beginning'],
  ]);
}

function defineLimit(program: Command, open: Open, done: Done): void {
  const command = program
    .command('limit')
    .description('change the rate of the running setup, or of an unfinished one')
    .argument(
      '<rate>',
      '20MB/s, 2.5MiB/s, 100Mbit/s, or off',
      argumentReader(setupOptions.limit, 'it'),
    )
    .argument('[model]', MODEL)
    .action((change: LimitChange, model: string | undefined) => apply(command, change, model));
  examples(command, [
    ['flashmoe limit 5MB/s', 'from now on, all connections together'],
    ['flashmoe limit off', 'as fast as the line'],
  ]);
  const apply = limits(open, done);
}

function defineHours(program: Command, open: Open, done: Done): void {
  const command = program
    .command('hours')
    .description('change the hours in which the setup uses the line')
    .argument('<from-to>', '23:00-07:00, or off', argumentReader(setupOptions.hours, 'it'))
    .argument('[model]', MODEL)
    .action((change: LimitChange, model: string | undefined) => apply(command, change, model));
  examples(command, [
    ['flashmoe hours 23:00-07:00', 'by the clock of this machine'],
    ['flashmoe hours off', 'at any time'],
  ]);
  const apply = limits(open, done);
}

function limits(open: Open, done: Done) {
  return async (command: Command, change: LimitChange, model?: string): Promise<void> => {
    const { changeLimits } = await import('../commands/job.js');
    done(await changeLimits(await open(command), model ?? null, change));
  };
}
