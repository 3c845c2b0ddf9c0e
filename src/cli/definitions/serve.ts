import { Option, type Command } from 'commander';
import { serveOptions } from '../../settings/engine-options.js';
import { examples } from '../command-options.js';
import type { Done, Open } from '../definition.js';
import { addOptions, typedValues } from '../option-flags.js';

export function defineServe(program: Command, open: Open, done: Done): void {
  const command = program
    .command('serve')
    .description('serve a model in the OpenAI dialect, on loopback')
    .argument('[model]', 'a name of `flashmoe status`')
    // Written into service definitions only.
    .addOption(new Option('--as-service').hideHelp())
    .action(async (model: string | undefined, { asService = false }: { asService?: boolean }) => {
      const { serve } = await import('../commands/serve.js');
      const typed = typedValues(command, serveOptions);
      done(await serve(await open(command), { ...typed, model: model ?? typed.model, asService }));
    });
  addOptions(command, serveOptions);
  examples(command, [
    ['flashmoe serve', 'on 127.0.0.1:11435'],
    ['flashmoe serve tiny --port 8080', 'another model'],
    ['FLASHMOE_API_KEY=secret flashmoe serve --host 0.0.0.0', 'for other machines'],
    ['flashmoe serve --fast-upstream http://127.0.0.1:11434/v1', 'two tiers'],
  ]);
}
