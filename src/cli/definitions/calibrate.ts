import type { Command } from 'commander';
import { calibrateOptions } from '../../settings/measuring-options.js';
import { examples } from '../command-options.js';
import type { Done, Open } from '../definition.js';
import { addOptions, typedValues } from '../option-flags.js';

export function defineCalibrate(program: Command, open: Open, done: Done): void {
  const command = program
    .command('calibrate')
    .description('see which weights a text uses, so that two bits can be spent on those')
    .argument('[model]', 'a name of `flashmoe status`')
    .action(async (model: string | undefined) => {
      const { calibrate } = await import('../commands/calibrate.js');
      const args = { ...typedValues(command, calibrateOptions), model: model ?? null };
      done(await calibrate(await open(command), args));
    });
  addOptions(command, calibrateOptions);
  examples(command, [
    ['flashmoe calibrate tiny --text notes.md', 'text as it stands'],
    ['flashmoe calibrate tiny --text chats.jsonl', '{"messages": [...]} a line'],
  ]);
}
