import type { Command } from 'commander';
import type { Quant } from '../../installer/events.js';
import { examples, oneModel, quantOption, repoOption, revisionOption } from '../command-options.js';
import type { Done, Open } from '../definition.js';

export interface SetupFlags {
  model?: string;
  repo?: string;
  revision?: string;
  quant?: Quant;
  yes?: boolean;
  service: boolean;
}

export function defineSetup(program: Command, open: Open, done: Done): void {
  const command = program
    .command('setup')
    .description('provision a model: fetch, verify, pack, and ask it what is known')
    .argument('[model]', 'a name of `flashmoe models`; without it a terminal asks')
    .option('--model <name>', 'the same as [model]')
    .addOption(repoOption())
    .addOption(revisionOption())
    .addOption(quantOption())
    .option('-y, --yes', 'agree to the plan; off a terminal needed above 1 GB')
    .option('--no-service', 'leave the server at login alone')
    .action(async (model: string | undefined, flags: SetupFlags) => {
      const { setup } = await import('../commands/setup.js');
      const { repo = null, revision = null, quant = null, yes = false, service } = flags;
      const context = await open(command);
      const { json, homeOption: home } = context;
      const name = oneModel(model, flags.model);
      done(await setup(context, { model: name, repo, revision, quant, yes, service, json, home }));
    });
  examples(command, [
    ['flashmoe setup', 'on a terminal: a wizard'],
    ['flashmoe setup qwen3.5-397b --quant 2bit --yes', 'nothing is asked'],
    ['flashmoe setup --repo org/name --json --yes', 'events as NDJSON'],
  ]);
}
