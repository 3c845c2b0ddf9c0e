import type { Command } from 'commander';
import { shareOptions } from '../../settings/engine-options.js';
import { examples } from '../command-options.js';
import type { Done, Open } from '../definition.js';
import { addOptions, typedValues } from '../option-flags.js';

export function defineShare(program: Command, open: Open, done: Done): void {
  const command = program
    .command('share')
    .description('offer a model to `setup --from` of another machine, read-only')
    .argument('[model]', 'a name of `flashmoe status`; the default one without it')
    .action(async (model: string | undefined) => {
      const { share } = await import('../commands/share.js');
      const args = { ...typedValues(command, shareOptions), model: model ?? null };
      done(await share(await open(command), args));
    });
  addOptions(command, shareOptions);
  examples(command, [
    ['flashmoe share', 'on loopback, for ssh -L'],
    ['flashmoe share tiny --host 0.0.0.0', 'for this network; prints a key'],
    ['flashmoe setup --from http://mac.local:11436', 'the other machine'],
  ]);
}
