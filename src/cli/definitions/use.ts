import type { Command } from 'commander';
import { examples } from '../command-options.js';
import type { Done, Open } from '../definition.js';

export function defineUse(program: Command, open: Open, done: Done): void {
  const command = program
    .command('use')
    .description('choose the model that answers when none is named')
    .argument('<model>', 'a name of `flashmoe status`')
    .action(async (model: string) => {
      const { use } = await import('../commands/use.js');
      done(await use(await open(command), model));
    });
  examples(command, [
    ['flashmoe use qwen3.5-397b-a17b', 'for serve, run and every other command'],
    ['flashmoe use qwen3.5-397b-a17b-2bit', 'one of its widths'],
  ]);
}
