import { Option, type Command } from 'commander';
import { examples, portNumber } from '../command-options.js';
import type { Done, Open } from '../definition.js';

export function defineShare(program: Command, open: Open, done: Done): void {
  const command = program
    .command('share')
    .description('offer a model to `setup --from` of another machine, read-only')
    .argument('[model]', 'a name of `flashmoe status`; the default one without it')
    .option('--host <address>', 'address to listen on (default: 127.0.0.1)')
    .addOption(
      new Option('--port <port>', 'port, 0 for any (default: 11436)').argParser(portNumber),
    )
    .action(async (model: string | undefined, flags: { host?: string; port?: number }) => {
      const { share } = await import('../commands/share.js');
      const { host = null, port = null } = flags;
      done(await share(await open(command), { model: model ?? null, host, port }));
    });
  examples(command, [
    ['flashmoe share', 'on loopback, for ssh -L'],
    ['flashmoe share tiny --host 0.0.0.0', 'for this network; prints a key'],
    ['flashmoe setup --from http://mac.local:11436', 'the other machine'],
  ]);
}
