import type { Command } from 'commander';
import { evalOptions } from '../../settings/measuring-options.js';
import { examples } from '../command-options.js';
import type { Done, Open } from '../definition.js';
import { addOptions, typedValues } from '../option-flags.js';

export function defineEval(program: Command, open: Open, done: Done): void {
  const command = program
    .command('eval')
    .description('ask a model questions whose answers are known, and count the right ones')
    .argument('[model]', 'a name of `flashmoe status`')
    .action(async (model: string | undefined) => {
      const { evaluateModel } = await import('../commands/eval.js');
      const args = { ...typedValues(command, evalOptions), model: model ?? null };
      done(await evaluateModel(await open(command), args));
    });
  addOptions(command, evalOptions);
  examples(command, [
    ['flashmoe eval tiny', 'all skills'],
    ['flashmoe eval tiny --skills tool_call --experts 4', 'four experts a token'],
    ['flashmoe eval tiny --quant 2bit --json', 'every wrong answer'],
  ]);
}
