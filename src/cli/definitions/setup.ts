import type { Command } from 'commander';
import { setupOptions } from '../../settings/setup-options.js';
import { examples, oneModel, quantOf } from '../command-options.js';
import type { Done, Open } from '../definition.js';
import type { Values } from '../../settings/option.js';
import { addOptions, typedValues } from '../option-flags.js';

export function defineSetup(program: Command, open: Open, done: Done): void {
  const command = provisioning(program.command('setup'), open, done, {}).description(
    'provision a model: fetch, verify, pack, and ask it what is known',
  );
  examples(command, [
    ['flashmoe setup', 'on a terminal: a wizard'],
    ['flashmoe setup qwen3.5-397b --quant 2bit --yes', 'nothing is asked'],
    ['flashmoe setup qwen3.5-397b --yes --overnight', 'then: flashmoe report'],
    ['flashmoe setup --from ~/models/x-4bit', 'a checkpoint that is here'],
    ["flashmoe setup --repo org/x --file '*Q4_K_M*'", 'one GGUF file of it'],
    ['flashmoe setup --repo org/name --json --yes', 'events as NDJSON'],
  ]);
}

const NO_SERVICE = { service: false } as const;

/** What others call it, for a model and nothing beside it. */
export function definePull(program: Command, open: Open, done: Done): void {
  const command = provisioning(program.command('pull'), open, done, NO_SERVICE).description(
    'provision a model, as setup does, and install no service',
  );
  examples(command, [
    ['flashmoe pull tiny', 'the bundled model'],
    ['flashmoe pull --repo org/name --yes', 'any repository of a supported family'],
  ]);
}

function provisioning(
  command: Command,
  open: Open,
  done: Done,
  always: Partial<Values<typeof setupOptions>>,
): Command {
  command
    .argument('[model]', 'a name of `flashmoe models`; without it a terminal asks')
    .option('--model <name>', 'the same as [model]')
    .action(async (argument: string | undefined, flags: { model?: string }) => {
      const { setup } = await import('../commands/setup.js');
      const typed = { ...typedValues(command, setupOptions), ...always };
      const model = oneModel(argument, flags.model);
      const quant = quantOf(typed.quant, typed.size);
      const context = await open(command);
      const { homeOption: home } = context;
      const json = context.json ? true : null;
      done(await setup(context, { ...typed, model, quant, json, home }));
    });
  addOptions(command, setupOptions);
  return command;
}
