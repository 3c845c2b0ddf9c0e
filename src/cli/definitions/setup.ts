import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { Quant } from '../../models/quant.js';
import {
  calibrationOption,
  examples,
  oneModel,
  quantOf,
  quantOption,
  repoOption,
  revisionOption,
  fromOption,
  sizeOption,
} from '../command-options.js';
import type { Done, Open } from '../definition.js';
import { deadline, hoursChange, rateChange, type LimitChange } from '../limit-options.js';

export interface SetupFlags {
  model?: string;
  repo?: string;
  revision?: string;
  from?: string;
  quant?: Quant;
  size?: number;
  calibration?: string;
  yes?: boolean;
  service: boolean;
  limit?: LimitChange;
  hours?: LimitChange;
  deadline?: number;
  overnight?: boolean;
  keepSource?: boolean;
}

export function defineSetup(program: Command, open: Open, done: Done): void {
  const command = program
    .command('setup')
    .description('provision a model: fetch, verify, pack, and ask it what is known')
    .argument('[model]', 'a name of `flashmoe models`; without it a terminal asks')
    .option('--model <name>', 'the same as [model]')
    .addOption(repoOption())
    .addOption(revisionOption())
    .addOption(fromOption())
    .addOption(quantOption())
    .addOption(sizeOption())
    .addOption(calibrationOption())
    .option('--keep-source', 'keep the checkpoint itself, too, as the hub has it')
    .option('-y, --yes', 'agree to the plan; off a terminal needed above 1 GB')
    .option('--no-service', 'leave the server at login alone')
    .option('--limit <rate>', 'at most 20MB/s, 100Mbit/s, …; off', rateChange)
    .option('--hours <from-to>', 'use the line from 23:00-07:00 only; off', hoursChange)
    .option('--deadline <when>', 'give up for now at 07:00, or after 8h', deadline)
    .option('--overnight', 'hand it to launchd or systemd, and end here')
    .action(async (model: string | undefined, flags: SetupFlags) => {
      const { setup } = await import('../commands/setup.js');
      const {
        repo = null,
        revision = null,
        from = null,
        size = null,
        calibration = null,
        keepSource = false,
        yes = false,
        service,
      } = flags;
      const quant = quantOf(flags.quant, flags.size);
      const context = await open(command);
      const { json, homeOption: home } = context;
      const name = oneModel(model, flags.model);
      const limits = { ...flags.limit, ...flags.hours };
      const { deadline: at = null, overnight = false } = flags;
      const night = { limits, deadline: at, overnight };
      const words = {
        model: name,
        repo,
        revision,
        from,
        quant,
        size,
        calibration: calibration === null ? null : resolve(calibration),
        keepSource,
        ...night,
        yes,
        service,
        json,
        home,
      };
      done(await setup(context, words));
    });
  examples(command, [
    ['flashmoe setup', 'on a terminal: a wizard'],
    ['flashmoe setup qwen3.5-397b --quant 2bit --yes', 'nothing is asked'],
    ['flashmoe setup qwen3.5-397b --yes --overnight', 'then: flashmoe report'],
    ['flashmoe setup --from ~/models/x-4bit', 'a checkpoint that is here'],
    ['flashmoe setup --repo org/name --json --yes', 'events as NDJSON'],
  ]);
}
