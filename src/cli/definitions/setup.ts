import type { Command } from 'commander';
import { setupOptions } from '../../settings/setup-options.js';
import { examples, oneModel, quantOf } from '../command-options.js';
import type { Done, Open } from '../definition.js';
import { addOptions, typedValues } from '../option-flags.js';

export function defineSetup(program: Command, open: Open, done: Done): void {
  const command = program
    .command('setup')
    .description('provision a model: fetch, verify, pack, and ask it what is known')
    .argument('[model]', 'a name of `flashmoe models`; without it a terminal asks')
    .option('--model <name>', 'the same as [model]')
    .action(async (argument: string | undefined, flags: { model?: string }) => {
      const { setup } = await import('../commands/setup.js');
      const typed = typedValues(command, setupOptions);
      const model = oneModel(argument, flags.model);
      const quant = quantOf(typed.quant, typed.size);
      const context = await open(command);
      const { homeOption: home } = context;
      const json = context.json ? true : null;
      done(await setup(context, { ...typed, model, quant, json, home }));
    });
  addOptions(command, setupOptions);
  examples(command, [
    ['flashmoe setup', 'on a terminal: a wizard'],
    ['flashmoe setup qwen3.5-397b --quant 2bit --yes', 'nothing is asked'],
    ['flashmoe setup qwen3.5-397b --yes --overnight', 'then: flashmoe report'],
    ['flashmoe setup --from ~/models/x-4bit', 'a checkpoint that is here'],
    ['flashmoe setup --repo org/name --json --yes', 'events as NDJSON'],
  ]);
}
