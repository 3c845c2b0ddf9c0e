import type { Command } from 'commander';
import { benchOptions } from '../../settings/measuring-options.js';
import { examples } from '../command-options.js';
import type { Done, Open } from '../definition.js';
import { addOptions, typedValues } from '../option-flags.js';

export function defineBench(program: Command, open: Open, done: Done): void {
  const command = program
    .command('bench')
    .description('measure how fast a model reads and writes here, cold and warm')
    .argument('[model]', 'a name of `flashmoe status`')
    .action(async (model: string | undefined, flags: { publish?: string | true }) => {
      const { bench } = await import('../commands/bench.js');
      const publish = flags.publish ?? false;
      const args = { ...typedValues(command, benchOptions), model: model ?? null, publish };
      done(await bench(await open(command), args));
    });
  addOptions(command, benchOptions);
  command.option('--publish [file]', 'also write a row for docs/machines.md, without names');
  examples(command, [
    ['flashmoe bench', 'the one that answers by default'],
    ['flashmoe bench tiny --threads 1', 'one core'],
    ['flashmoe bench tiny --prompt 2048 --json', 'every figure'],
    ['flashmoe bench --publish', 'a row that others may see'],
  ]);
}
