import type { Command } from 'commander';
import { examples } from '../command-options.js';
import type { Done, Open } from '../definition.js';

export function defineUpgrade(program: Command, open: Open, done: Done): void {
  const command = program
    .command('upgrade')
    .description('say what brings a newer flashmoe here; changes nothing')
    .action(async () => {
      const { upgrade } = await import('../commands/upgrade.js');
      done(await upgrade(await open(command)));
    });
  examples(command, [['flashmoe upgrade', 'the commands for Homebrew, npm or a checkout']]);
}
