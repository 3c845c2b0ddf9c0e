import type { Command } from 'commander';
import { examples } from '../command-options.js';
import type { Done, Open } from '../definition.js';

export function defineUninstall(program: Command, open: Open, done: Done): void {
  const command = program
    .command('uninstall')
    .description('delete a model, or everything that flashmoe has written')
    .argument('[model]', 'a name of `flashmoe status`; everything without it')
    .option('--dry-run', 'show what would go, with sizes')
    .option('-y, --yes', 'delete it')
    .action(async (model: string | undefined, flags: { dryRun?: boolean; yes?: boolean }) => {
      const { uninstall } = await import('../commands/uninstall.js');
      const { dryRun = false, yes = false } = flags;
      const verb = 'uninstall';
      const args = { verb, model: model ?? null, quant: null, dryRun, yes } as const;
      done(await uninstall(await open(command), args));
    });
  examples(command, [
    ['flashmoe uninstall --dry-run', 'what would go, with sizes'],
    ['flashmoe uninstall tiny --yes', 'one model; others, engine and service stay'],
    ['flashmoe uninstall --yes', 'models, engine, logs, settings and service'],
  ]);
}
