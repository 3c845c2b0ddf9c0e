import { Option, type Command } from 'commander';
import type { BackendName } from '../../addon/types.js';
import { backendOption, examples, gigabytes, modelOption, portNumber } from '../command-options.js';
import type { Done, Open } from '../definition.js';
import { LOG_LEVELS, type LogLevel } from '../../server/log-level.js';

interface ServeFlags {
  model?: string;
  backend?: BackendName;
  directReads?: boolean;
  host?: string;
  port?: number;
  fastUpstream?: string;
  fastModel?: string;
  promptCache?: number;
  logLevel: LogLevel;
  asService?: boolean;
}

export function defineServe(program: Command, open: Open, done: Done): void {
  const command = program
    .command('serve')
    .description('serve a model in the OpenAI dialect, on loopback')
    .addOption(modelOption())
    .addOption(backendOption())
    .option('--direct-reads', 'read experts past the page cache; see docs/performance.md')
    .option('--host <address>', 'address to listen on; any but loopback needs FLASHMOE_API_KEY')
    .addOption(new Option('--port <port>', 'port, 0 for any free one').argParser(portNumber))
    .option('--fast-upstream <url>', 'an OpenAI endpoint for quick work, e.g. of Ollama')
    .option('--fast-model <name>', 'its model (default: the first it lists)')
    .addOption(
      new Option(
        '--prompt-cache <GB>',
        'disk for prompts that were read, 0 for none (default: 8)',
      ).argParser(gigabytes),
    )
    .addOption(
      new Option('--log-level <level>', 'what is told: errors, refusals too, answers too, or all')
        .choices(LOG_LEVELS)
        .default('info'),
    )
    // Written into service definitions only.
    .addOption(new Option('--as-service').hideHelp())
    .action(async (flags: ServeFlags) => {
      const { serve } = await import('../commands/serve.js');
      const { model = null, backend = null, host = null, port = null, asService = false } = flags;
      const { fastUpstream = null, fastModel = null, promptCache = null } = flags;
      const { directReads = null, logLevel } = flags;
      const args = {
        model,
        backend,
        directReads,
        host,
        port,
        fastUpstream,
        fastModel,
        promptCache,
        logLevel,
        asService,
      };
      done(await serve(await open(command), args));
    });
  examples(command, [
    ['flashmoe serve', 'on 127.0.0.1:11435'],
    ['flashmoe serve --model tiny --port 8080', 'another model'],
    ['FLASHMOE_API_KEY=secret flashmoe serve --host 0.0.0.0', 'for other machines'],
    ['flashmoe serve --fast-upstream http://127.0.0.1:11434/v1', 'two tiers'],
  ]);
}
