import type { Command } from 'commander';
import { checkpointOptions } from '../../settings/setup-options.js';
import { examples, quantOf } from '../command-options.js';
import type { Done, Open } from '../definition.js';
import { addOptions, typedValues } from '../option-flags.js';

export function definePlan(program: Command, open: Open, done: Done): void {
  const command = program
    .command('plan')
    .description('what a setup would download and keep; changes nothing')
    .argument('[model]', 'a name of `flashmoe models`; the recommended one without it')
    .action(async (model: string | undefined) => {
      const { plan } = await import('../commands/plan.js');
      const typed = typedValues(command, checkpointOptions);
      const quant = quantOf(typed.quant, typed.size);
      done(await plan(await open(command), { ...typed, model: model ?? null, quant }));
    });
  addOptions(command, checkpointOptions);
  examples(command, [
    ['flashmoe plan', 'what this machine is best for'],
    ['flashmoe plan qwen3.5-397b --quant 2bit', 'exact bytes, disk and time'],
    ['flashmoe plan qwen3.5-397b --size 150GB', 'the best widths for that size'],
    ['flashmoe plan --repo org/name --json', 'any repository we can read'],
  ]);
}
