import type { Command } from 'commander';
import { examples } from '../command-options.js';
import type { Done, Open } from '../definition.js';

export function defineModels(program: Command, open: Open, done: Done): void {
  const command = program
    .command('models')
    .description('the catalogue, with a verdict for this machine')
    .action(async () => {
      const { models } = await import('../commands/models.js');
      done(await models(await open(command)));
    });
  examples(command, [
    ['flashmoe models', 'a table'],
    ['flashmoe models --json', 'exact sizes and verdicts'],
  ]);
}
