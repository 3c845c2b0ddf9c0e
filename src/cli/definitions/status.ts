import type { Command } from 'commander';
import { examples } from '../command-options.js';
import type { Done, Open } from '../definition.js';

export function defineStatus(program: Command, open: Open, done: Done): void {
  const command = program
    .command('status')
    .aliases(['list', 'ls'])
    .description('what is on disk, and which setup is under way')
    .action(async () => {
      const { status } = await import('../commands/status.js');
      done(await status(await open(command)));
    });
  examples(command, [
    ['flashmoe status', 'a table'],
    ['flashmoe status --json', 'one JSON line, for scripts'],
  ]);
}
