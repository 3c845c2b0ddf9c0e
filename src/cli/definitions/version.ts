import type { Command } from 'commander';
import { EXIT } from '../../base/errors.js';
import { examples } from '../command-options.js';
import type { Done, Open } from '../definition.js';

export function defineVersion(program: Command, open: Open, done: Done): void {
  const command = program
    .command('version')
    .description('print the version')
    .action(async () => {
      const context = await open(command);
      if (context.json) context.emit('version', { version: context.version });
      else context.print(context.version);
      done(EXIT.done);
    });
  examples(command, [['flashmoe version', 'the same as flashmoe --version']]);
}
