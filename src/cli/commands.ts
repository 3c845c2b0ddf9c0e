// Names, options and examples of every command. Help is made from this, and what a command does is
// imported only when it runs.

import type { Command } from 'commander';
import type { CliContext } from './context.js';

export type Open = (command: Command) => CliContext;
export type Done = (status: number) => void;

type Example = readonly [command: string, what: string];

/** Adds all commands to `program`. `open` builds the context of a run, `done` takes its exit status. */
export function defineCommands(program: Command, open: Open, done: Done): void {
  examples(program, [['flashmoe service status', 'is the server running at login?']]);

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

/** House rule: examples come before options. */
function examples(command: Command, lines: readonly Example[]): void {
  const width = Math.max(...lines.map(([text]) => text.length));
  const text = lines.map(([example, what]) => `  ${example.padEnd(width)}  ${what}`).join('\n');
  command.addHelpText('before', `Examples:\n${text}\n`);
}
