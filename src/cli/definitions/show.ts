import type { Command } from 'commander';
import { examples } from '../command-options.js';
import type { Done, Open } from '../definition.js';

export function defineShow(program: Command, open: Open, done: Done): void {
  const command = program
    .command('show')
    .description('what is known of one model here: state, source, size, check')
    .argument('<model>', 'a name of `flashmoe status`')
    .action(async (model: string) => {
      const { show } = await import('../commands/show.js');
      done(await show(await open(command), model));
    });
  examples(command, [
    ['flashmoe show tiny', 'lines'],
    ['flashmoe show tiny --json', 'the same as one JSON line'],
  ]);
}
