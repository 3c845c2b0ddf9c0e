// Names, options and examples of every command. Help is made from this, and what a command does is
// imported only when it runs.

import type { Command } from 'commander';
import type { CliContext } from './context.js';

export type Open = (command: Command) => CliContext;
export type Done = (status: number) => void;

type Example = readonly [command: string, what: string];

/** Adds all commands to `program`. `open` builds the context of a run, `done` takes its exit status. */
export function defineCommands(program: Command, open: Open, done: Done): void {
  examples(program, [
    ['flashmoe status', 'what is on disk, and what is under way'],
    ['flashmoe doctor', 'is everything in order?'],
    ['flashmoe service status', 'is the server running at login?'],
  ]);
  defineStatus(program, open, done);
  defineDoctor(program, open, done);
  defineService(program, open, done);
  defineUninstall(program, open, done);
}

function defineStatus(program: Command, open: Open, done: Done): void {
  const command = program
    .command('status')
    .description('what is on disk, and which setup is under way')
    .action(async () => {
      const { status } = await import('./commands/status.js');
      done(await status(open(command)));
    });
  examples(command, [
    ['flashmoe status', 'a table'],
    ['flashmoe status --json', 'one JSON line, for scripts'],
  ]);
}

function defineDoctor(program: Command, open: Open, done: Done): void {
  const command = program
    .command('doctor')
    .description('examine machine and installation; changes nothing')
    .option('--only <checks...>', 'checks or groups to run')
    .option('--list', 'name all checks')
    .action(async ({ only, list }: { only?: string[]; list?: boolean }) => {
      const { doctor } = await import('./commands/doctor.js');
      done(await doctor(open(command), { only: only ?? [], list: list ?? false }));
    });
  examples(command, [
    ['flashmoe doctor', 'all checks; exit status 1 when one fails'],
    ['flashmoe doctor --only disk service', 'some of them'],
    ['flashmoe doctor --json', 'findings with stable ids'],
  ]);
}

function defineService(program: Command, open: Open, done: Done): void {
  const service = program
    .command('service')
    .description('the server at login, by launchd or systemd')
    .usage('install | uninstall | status')
    .helpCommand(false);
  examples(service, [
    ['flashmoe service install', 'start the server now and at every login'],
    ['flashmoe service install --dry-run', 'print the definition, change nothing'],
    ['flashmoe service status --json', 'for scripts'],
  ]);
  const install = service
    .command('install')
    .description('start the server now and at every login')
    .option('--dry-run', 'print the definition file, change nothing')
    .action(async ({ dryRun }: { dryRun?: boolean }) => {
      const { installService } = await import('./commands/service.js');
      done(await installService(open(install), { dryRun: dryRun ?? false }));
    });
  examples(install, [['flashmoe service install --dry-run', 'print the definition first']]);
  const uninstall = service
    .command('uninstall')
    .description('stop the server and remove the definition; models stay')
    .action(async () => {
      const { uninstallService } = await import('./commands/service.js');
      done(await uninstallService(open(uninstall)));
    });
  examples(uninstall, [['flashmoe service uninstall', 'models and settings stay']]);
  const status = service
    .command('status')
    .description('whether it is installed and running')
    .action(async () => {
      const { serviceStatus } = await import('./commands/service.js');
      done(await serviceStatus(open(status)));
    });
  examples(status, [['flashmoe service status --json', 'for scripts']]);
}

function defineUninstall(program: Command, open: Open, done: Done): void {
  const command = program
    .command('uninstall')
    .description('delete a model, or everything that flashmoe has written')
    .argument('[model]', 'a name of `flashmoe status`; everything without it')
    .option('--dry-run', 'show what would go, with sizes')
    .option('-y, --yes', 'delete it')
    .action(async (model: string | undefined, flags: { dryRun?: boolean; yes?: boolean }) => {
      const { uninstall } = await import('./commands/uninstall.js');
      const args = { model: model ?? null, dryRun: flags.dryRun ?? false, yes: flags.yes ?? false };
      done(await uninstall(open(command), args));
    });
  examples(command, [
    ['flashmoe uninstall --dry-run', 'what would go, with sizes'],
    ['flashmoe uninstall tiny --yes', 'one model; others, engine and service stay'],
    ['flashmoe uninstall --yes', 'models, engine, logs, settings and service'],
  ]);
}

/** House rule: examples come before options. */
function examples(command: Command, lines: readonly Example[]): void {
  const width = Math.max(...lines.map(([text]) => text.length));
  const text = lines.map(([example, what]) => `  ${example.padEnd(width)}  ${what}`).join('\n');
  command.addHelpText('before', `Examples:\n${text}\n`);
}
