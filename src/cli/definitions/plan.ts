import { resolve } from 'node:path';
import type { Command } from 'commander';
import {
  calibrationOption,
  examples,
  quantOf,
  quantOption,
  repoOption,
  revisionOption,
  fromOption,
  sizeOption,
} from '../command-options.js';
import type { Done, Open } from '../definition.js';
import type { SetupFlags } from './setup.js';

export function definePlan(program: Command, open: Open, done: Done): void {
  const command = program
    .command('plan')
    .description('what a setup would download and keep; changes nothing')
    .argument('[model]', 'a name of `flashmoe models`; the recommended one without it')
    .addOption(repoOption())
    .addOption(revisionOption())
    .addOption(fromOption())
    .addOption(quantOption())
    .addOption(sizeOption())
    .addOption(calibrationOption())
    .action(async (model: string | undefined, flags: Omit<SetupFlags, 'model'>) => {
      const { plan } = await import('../commands/plan.js');
      const { repo = null, revision = null, from = null, size = null } = flags;
      const calibration = flags.calibration === undefined ? null : resolve(flags.calibration);
      const quant = quantOf(flags.quant, flags.size);
      const args = { model: model ?? null, repo, revision, from, quant, size, calibration };
      done(await plan(await open(command), args));
    });
  examples(command, [
    ['flashmoe plan', 'what this machine is best for'],
    ['flashmoe plan qwen3.5-397b --quant 2bit', 'exact bytes, disk and time'],
    ['flashmoe plan qwen3.5-397b --size 150GB', 'the best widths for that size'],
    ['flashmoe plan --repo org/name --json', 'any repository we can read'],
  ]);
}
