import { Argument, Option, type Command } from 'commander';
import { examples, modelOption, portNumber } from '../command-options.js';
import type { Done, Open } from '../definition.js';

interface Flags {
  model?: string;
  port?: number;
  dryRun?: boolean;
}

const CLIENTS = ['openclaw', 'claude-code', 'codex', 'opencode', 'continue', 'open-webui'];

export function defineConnect(program: Command, open: Open, done: Done): void {
  const command = program
    .command('connect')
    .description('point a client at this server: its own configuration, with a backup')
    .addArgument(new Argument('<client>', 'which one').choices(CLIENTS))
    .addOption(modelOption())
    .addOption(new Option('--port <port>', 'of the server').argParser(portNumber))
    .option('--dry-run', 'print the settings, change nothing')
    .action(async (client: string, flags: Flags) => {
      const { connect } = await import('../commands/connect.js');
      const { model = null, port = null, dryRun = false } = flags;
      done(await connect(await open(command), { client, model, port, dryRun }));
    });
  examples(command, [
    ['flashmoe connect claude-code', 'merge into ~/.claude/settings.json'],
    ['flashmoe connect codex --dry-run', 'print what would be merged'],
    ['flashmoe connect open-webui', 'the command that starts it'],
  ]);
}
