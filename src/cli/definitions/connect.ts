import { Argument, type Command } from 'commander';
import { portOption } from '../../settings/engine-options.js';
import { examples, modelOption } from '../command-options.js';
import type { Done, Open } from '../definition.js';
import { flagOf } from '../option-flags.js';

interface Flags {
  model?: string;
  port?: number;
  dryRun?: boolean;
}

const serverPort = { ...portOption, about: 'of the server', fallback: null };
const LAUNCHED = ['claude-code', 'codex', 'opencode', 'continue', 'qwen-code', 'pi'];
const CLIENTS = ['openclaw', ...LAUNCHED, 'cline', 'open-webui'];

export function defineConnect(program: Command, open: Open, done: Done): void {
  const command = program
    .command('connect')
    .description('point a client at this server: its own configuration, with a backup')
    .addArgument(new Argument('<client>', 'which one').choices(CLIENTS))
    .addOption(modelOption())
    .addOption(flagOf(serverPort))
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

export function defineLaunch(program: Command, open: Open, done: Done): void {
  const command = program
    .command('launch')
    .description('start a client with this server, for this run: its own configuration stays')
    .addArgument(new Argument('<client>', 'which one').choices(LAUNCHED))
    .argument('[words...]', 'behind --, for the client')
    .addOption(modelOption())
    .addOption(flagOf(serverPort))
    .action(async (client: string, words: string[], flags: Flags) => {
      const { launch } = await import('../commands/launch.js');
      const { model = null, port = null } = flags;
      done(await launch(await open(command), { client, words, model, port }));
    });
  examples(command, [
    ['flashmoe launch claude-code', 'on the running server'],
    ['flashmoe launch codex -- exec "Explain this"', 'with its own words'],
  ]);
}
