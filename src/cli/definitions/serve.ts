import { Option, type Command } from 'commander';
import { examples, modelOption, portNumber } from '../command-options.js';
import type { Done, Open } from '../definition.js';

export function defineServe(program: Command, open: Open, done: Done): void {
  const command = program
    .command('serve')
    .description('serve a model in the OpenAI dialect, on loopback')
    .addOption(modelOption())
    .option('--host <address>', 'address to listen on; any but loopback needs FLASHMOE_API_KEY')
    .addOption(new Option('--port <port>', 'port, 0 for any free one').argParser(portNumber))
    .action(async (flags: { model?: string; host?: string; port?: number }) => {
      const { serve } = await import('../commands/serve.js');
      const { model = null, host = null, port = null } = flags;
      done(await serve(await open(command), { model, host, port }));
    });
  examples(command, [
    ['flashmoe serve', 'on 127.0.0.1:11435'],
    ['flashmoe serve --model tiny --port 8080', 'another model'],
    ['FLASHMOE_API_KEY=secret flashmoe serve --host 0.0.0.0', 'for other machines'],
  ]);
}
