import type { Command } from 'commander';
import { examples } from '../command-options.js';
import type { Done, Open } from '../definition.js';

export function defineQuality(program: Command, open: Open, done: Done): void {
  const command = program
    .command('quality')
    .description('what two bits cost: error by layer and projection')
    .argument('[model]', 'a name of `flashmoe status`')
    .action(async (model: string | undefined) => {
      const { quality } = await import('../commands/quality.js');
      done(await quality(await open(command), model ?? null));
    });
  examples(command, [
    ['flashmoe quality', 'what two bits lost, by layer'],
    ['flashmoe quality tiny-2bit --json', 'the same as one JSON line'],
  ]);
}
