import type { Command } from 'commander';
import { examples } from '../command-options.js';
import type { Done, Open } from '../definition.js';

export function defineDoctor(program: Command, open: Open, done: Done): void {
  const command = program
    .command('doctor')
    .description('examine machine and installation; changes nothing')
    .option('--only <checks...>', 'checks or groups to run')
    .option('--list', 'name all checks')
    .action(async ({ only, list }: { only?: string[]; list?: boolean }) => {
      const { doctor } = await import('../commands/doctor.js');
      done(await doctor(await open(command), { only: only ?? [], list: list ?? false }));
    });
  examples(command, [
    ['flashmoe doctor', 'all checks; exit status 1 when one fails'],
    ['flashmoe doctor --only disk service', 'some of them'],
    ['flashmoe doctor --json', 'findings with stable ids'],
  ]);
}
