import type { Command } from 'commander';
import { examples } from '../command-options.js';
import type { Done, Open } from '../definition.js';

interface UpdateFlags {
  dryRun?: boolean;
  yes?: boolean;
}

export function defineUpdate(program: Command, open: Open, done: Done): void {
  const command = program
    .command('update')
    .description('fetch what changed in the repository of a model since it was set up')
    .argument('[model]', 'a name of `flashmoe status`; without it the one that answers')
    .option('--dry-run', 'show what moved and what would be fetched; changes nothing')
    .option('-y, --yes', 'agree to a large download')
    .action(async (model: string | undefined, flags: UpdateFlags) => {
      const { update } = await import('../commands/update.js');
      const { dryRun = false, yes = false } = flags;
      done(await update(await open(command), { model: model ?? null, dryRun, yes }));
    });
  examples(command, [
    ['flashmoe update --dry-run', 'what moved, and the bytes to fetch'],
    ['flashmoe update qwen3.5-397b --yes', 'the old one answers until then'],
  ]);
}
