import { Option, type Command } from 'commander';
import { examples } from '../command-options.js';
import type { Done, Open } from '../definition.js';

interface DoctorFlags {
  only?: string[];
  list?: boolean;
  selfTest?: boolean;
  strict?: boolean;
  fix?: boolean;
  yes?: boolean;
  report?: string | true;
  sim?: string;
}

export function defineDoctor(program: Command, open: Open, done: Done): void {
  const command = program
    .command('doctor')
    .description('examine machine and installation; changes nothing')
    .option('--only <checks...>', 'checks or groups to run')
    .option('--list', 'name all checks')
    .addOption(
      new Option(
        '--self-test',
        'only every operation of CPU and GPU; with --report, measure, too',
      ).conflicts(['only', 'sim']),
    )
    .option('--strict', 'exit status 1 for a warning, too')
    .option('--fix', 'ask about each remedy, then apply it')
    .option('--yes', 'with --fix: do what is safe, ask nothing')
    .option('--report [file]', 'also write a file without names and secrets')
    .addOption(
      new Option('--sim <machine>', 'verdicts for another machine').conflicts(['fix', 'report']),
    )
    .action(async (flags: DoctorFlags) => {
      const { doctor } = await import('../commands/doctor.js');
      const { only = [], list = false, strict = false, fix = false, yes = false } = flags;
      const { report = false, sim = null, selfTest = false } = flags;
      const args = { only, list, selfTest, strict, fix, yes, report, sim };
      done(await doctor(await open(command), args));
    });
  examples(command, [
    ['flashmoe doctor', 'all checks; status 1 when one fails'],
    ['flashmoe doctor --only disk service', 'some of them'],
    ['flashmoe doctor --json', 'findings with stable ids'],
    ['flashmoe doctor --fix', 'put right what can be, asking first'],
    ['flashmoe doctor --report', 'a file for a bug report'],
    ['flashmoe doctor --self-test --report', 'the first thing on a new Mac'],
    ['flashmoe doctor --sim m4-pro-48', 'what another machine would run'],
    ['flashmoe doctor --sim ram=16,disk=512', 'the same, in gigabytes'],
  ]);
}
