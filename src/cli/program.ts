// The command line as commander sees it, and the one place where an outcome becomes an exit status.

import { Command, CommanderError, Option } from 'commander';
import { EXIT, FlashmoeError } from '../base/errors.js';
import { defineCommands } from './commands.js';
import type { CliContext, GlobalOptions } from './context.js';
import { synonymOf } from './synonyms.js';

/** Parses `args` (without node and script), runs the command, returns the exit status. Never throws. */
export async function runProgram(args: string[], version: string): Promise<number> {
  let context: CliContext | null = null;
  let status: number = EXIT.done;
  const program = createProgram(version);
  const open = async (command: Command): Promise<CliContext> => {
    const { createContext } = await import('./context.js');
    context = createContext(command.optsWithGlobals<GlobalOptions>(), version);
    return context;
  };
  const done = (result: number): void => {
    status = result;
  };
  try {
    await defineCommands(program, open, done, args[0]);
    await program.parseAsync(args, { from: 'user' });
    return status;
  } catch (thrown) {
    if (thrown instanceof CommanderError && thrown.exitCode === 0) return EXIT.done;
    // Without a command the help itself, on stderr by now, is the message.
    if (thrown instanceof CommanderError && thrown.code === 'commander.help') return EXIT.usage;
    return await report(
      thrown instanceof CommanderError ? usageError(thrown, args) : thrown,
      context,
      args,
    );
  }
}

function createProgram(version: string): Command {
  return (
    new Command('flashmoe')
      .description('Run Mixture-of-Experts models far larger than memory, streamed from SSD')
      .usage('<command> [options]')
      .version(version, '-V, --version', 'print the version')
      .helpOption('-h, --help', 'print help; also after any command')
      .helpCommand('help [command]', 'print the help of a command')
      .addOption(new Option('--json', 'NDJSON on stdout, the last line is the result'))
      // The variable is named here and read by the context: help is the same on every machine.
      .option('--home <dir>', 'for models and settings (else FLASHMOE_HOME, ~/.flashmoe)')
      .addOption(
        new Option('--color <when>', 'colour the output').choices(['auto', 'always', 'never']),
      )
      .configureHelp({ showGlobalOptions: true, sortSubcommands: false })
      // Messages of the parser are printed like all others, by `report`.
      .configureOutput({ outputError: () => undefined })
      .showSuggestionAfterError(true)
      .exitOverride()
  );
}

/** Commander's message is "error: <what>", and on a second line "(Did you mean <nearest>?)". */
function usageError(error: CommanderError, args: readonly string[]): FlashmoeError {
  const [first = '', nearest] = error.message.replace(/^error: /, '').split('\n');
  const message = first.replace(/\.$/, '');
  const word = /^unknown command '([^']*)'$/.exec(message)?.[1] ?? '';
  // Behind a command a near miss is one of its own words.
  const meant = synonymOf(word, args[0] === word);
  const hint = meant
    ? `here it is called \`flashmoe ${meant}\``
    : nearest
      ? nearest.replace(/^\((.*)\)$/, '$1').replace('Did', 'did')
      : '`flashmoe --help` lists the commands, `flashmoe COMMAND --help` the options of one';
  return new FlashmoeError('ERR_USAGE', message, { hint });
}

async function report(
  thrown: unknown,
  context: CliContext | null,
  args: string[],
): Promise<number> {
  const { describeFailure, failureLine, failureText } = await import('./failure.js');
  const interruption = context?.interruption;
  const failure = describeFailure(thrown, {
    interrupted: interruption?.status() ?? null,
    resumeCommand: context?.resumeCommand ?? null,
  });
  if (interruption?.readerGone()) return failure.status;
  const json = context?.json ?? args.includes('--json');
  if (json) process.stdout.write(`${failureLine(failure, Date.now())}\n`);
  else process.stderr.write(failureText(failure));
  if (process.env['FLASHMOE_DEBUG'] && thrown instanceof Error) {
    process.stderr.write(`\n${thrown.stack ?? ''}\n`);
  }
  return failure.status;
}
