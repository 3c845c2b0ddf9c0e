import type { Command } from 'commander';
import { examples } from '../command-options.js';
import type { Done, Open } from '../definition.js';

export function defineService(program: Command, open: Open, done: Done): void {
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
      const { installService } = await import('../commands/service.js');
      done(await installService(await open(install), { dryRun: dryRun ?? false }));
    });
  examples(install, [['flashmoe service install --dry-run', 'print the definition first']]);
  const uninstall = service
    .command('uninstall')
    .description('stop the server and remove the definition; models stay')
    .action(async () => {
      const { uninstallService } = await import('../commands/service.js');
      done(await uninstallService(await open(uninstall)));
    });
  examples(uninstall, [['flashmoe service uninstall', 'models and settings stay']]);
  const status = service
    .command('status')
    .description('whether it is installed and running')
    .action(async () => {
      const { serviceStatus } = await import('../commands/service.js');
      done(await serviceStatus(await open(status)));
    });
  examples(status, [['flashmoe service status --json', 'for scripts']]);
}
