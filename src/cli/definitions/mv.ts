import type { Command } from 'commander';
import { examples } from '../command-options.js';
import type { Done, Open } from '../definition.js';

export function defineMv(program: Command, open: Open, done: Done): void {
  const command = program
    .command('mv')
    .description('move a model to another folder or volume, verified before it goes')
    .argument('<model>', 'a name of `flashmoe status`')
    .argument('<folder>', 'an existing folder; the model gets one of its own in it')
    .action(async (model: string, folder: string) => {
      const { mv } = await import('../commands/mv.js');
      done(await mv(await open(command), { model, folder }));
    });
  examples(command, [
    ['flashmoe mv qwen3.5-397b-a17b /Volumes/Big', 'run again, it goes on'],
    ['flashmoe mv qwen3.5-397b-a17b ~/.flashmoe/models', 'and back'],
  ]);
}
