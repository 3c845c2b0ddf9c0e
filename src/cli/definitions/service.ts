import { Option, type Command } from 'commander';
import { installOptions } from '../../settings/engine-options.js';
import { examples, wholeNumber } from '../command-options.js';
import type { Done, Open } from '../definition.js';
import { addOptions, typedValues } from '../option-flags.js';

const ORDERS = [
  ['start', 'start the installed server now', 'also where System Settings switched it off'],
  ['stop', 'stop it until the next login, or until it is started', 'running answers may end first'],
  ['restart', 'end it and start it anew', 'after an upgrade'],
] as const;

export function defineService(program: Command, open: Open, done: Done): void {
  const service = program
    .command('service')
    .description('the server at login, by launchd or systemd')
    .usage('install|start|stop|restart|logs|status|uninstall')
    .helpCommand(false);
  examples(service, [
    ['flashmoe service install', 'start the server now and at every login'],
    ['flashmoe service install --dry-run', 'print the definition, change nothing'],
    ['flashmoe service logs -f', 'what it writes'],
    ['flashmoe service status --json', 'for scripts'],
  ]);
  const install = service
    .command('install')
    .description('start the server now and at every login')
    .action(async () => {
      const { installService } = await import('../commands/service.js');
      const { dryRun, onDemand, backend } = typedValues(install, installOptions);
      const args = { dryRun: dryRun === true, onDemand: onDemand === true, backend };
      done(await installService(await open(install), args));
    });
  addOptions(install, installOptions);
  examples(install, [['flashmoe service install --dry-run', 'print the definition first']]);
  for (const [order, what, example] of ORDERS) {
    const command = service
      .command(order)
      .description(what)
      .action(async () => {
        const { orderService } = await import('../commands/service.js');
        done(await orderService(await open(command), order));
      });
    examples(command, [[`flashmoe service ${order}`, example]]);
  }
  const logs = service
    .command('logs')
    .description('what the server wrote last')
    .option('-f, --follow', 'go on with what it writes')
    .addOption(
      new Option('-n, --lines <number>', 'how many lines').argParser(wholeNumber).default(100),
    )
    .action(async (flags: { follow?: boolean; lines: number }) => {
      const { showLogs } = await import('../commands/service-logs.js');
      const { follow = false, lines } = flags;
      done(await showLogs(await open(logs), { follow, lines }));
    });
  examples(logs, [
    ['flashmoe service logs', 'the last 100 lines'],
    ['flashmoe service logs -f -n 20', 'follow it'],
  ]);
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
