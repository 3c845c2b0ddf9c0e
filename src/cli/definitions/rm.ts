import type { Command } from 'commander';
import type { Quant } from '../../models/quant.js';
import { examples, quantOption } from '../command-options.js';
import type { Done, Open } from '../definition.js';

interface RmFlags {
  quant?: Quant;
  dryRun?: boolean;
  yes?: boolean;
}

export function defineRm(program: Command, open: Open, done: Done): void {
  const command = program
    .command('rm')
    .description('delete a model and the states of its prompts')
    .argument('<model>', 'a name of `flashmoe status`')
    .addOption(quantOption('only the one at these widths'))
    .option('--dry-run', 'show what would go, with sizes')
    .option('-y, --yes', 'delete it')
    .action(async (model: string, flags: RmFlags) => {
      const { uninstall } = await import('../commands/uninstall.js');
      const { quant = null, dryRun = false, yes = false } = flags;
      done(await uninstall(await open(command), { verb: 'rm', model, quant, dryRun, yes }));
    });
  examples(command, [
    ['flashmoe rm tiny --dry-run', 'what would go, with sizes'],
    ['flashmoe rm tiny --yes', 'only what setup wrote; other files stay'],
  ]);
}
