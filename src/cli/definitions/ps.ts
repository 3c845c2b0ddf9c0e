import type { Command } from 'commander';
import { portOption } from '../../settings/engine-options.js';
import { examples } from '../command-options.js';
import type { Done, Open } from '../definition.js';
import { addOptions, typedValues } from '../option-flags.js';

const options = { port: portOption };

export function definePs(program: Command, open: Open, done: Done): void {
  const command = program
    .command('ps')
    .description('what the server has loaded, and what it does now')
    .action(async () => {
      const { ps } = await import('../commands/ps.js');
      done(await ps(await open(command), typedValues(command, options).port));
    });
  addOptions(command, options);
  examples(command, [
    ['flashmoe ps', 'the server at the port of the settings'],
    ['flashmoe ps --port 8080', 'another one'],
  ]);
}
