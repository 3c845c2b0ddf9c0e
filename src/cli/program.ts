// The command line as commander sees it, and the one place where an outcome becomes an exit status.

import { Command, CommanderError, Option } from 'commander';
import { EXIT, FlashmoeError } from '../base/errors.js';
import { commandNames, defineCommands } from './commands.js';
import type { CliContext, GlobalOptions } from './context.js';
import { synonymOf, whyNotHere } from './synonyms.js';

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
    const words = wordsFor(args);
    await defineCommands(program, open, done, words[0]);
    await program.parseAsync(words, { from: 'user' });
    return status;
  } catch (thrown) {
    if (thrown instanceof CommanderError && thrown.exitCode === 0) return EXIT.done;
    // Without a command the help itself, on stderr by now, is the message.
    if (thrown instanceof CommanderError && thrown.code === 'commander.help') return EXIT.usage;
    return await report(
      thrown instanceof CommanderError ? usageError(thrown, wordsFor(args)) : thrown,
      context,
      args,
    );
  }
}

/** `help X` is `X --help`, and for a word that is no command what that word alone gets; `-v` is what most people type. */
function wordsFor(args: readonly string[]): string[] {
  const [first = '', ...rest] = args;
  if (first === '-v' && rest.length === 0) return ['--version'];
  if (first !== 'help' || rest.length === 0) return [...args];
  return commandNames.includes(rest[0] ?? '') ? [...rest, '--help'] : rest.slice(0, 1);
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
  const word = /^unknown command '([^']*)'$/.exec(message)?.[1] ?? null;
  const hint =
    (word === null ? null : meantBy(word, args)) ??
    nearest?.replace(/^\((.*)\)$/, '$1').replace('Did', 'did') ??
    howToType(message, args[0] ?? '');
  return new FlashmoeError('ERR_USAGE', plainly(message, args[0] ?? ''), { hint });
}

/** Behind a command a near miss is one of its own words. */
function meantBy(word: string, args: readonly string[]): string | null {
  const isFirst = args[0] === word;
  const why = isFirst ? whyNotHere(word) : null;
  if (why !== null) return why;
  const begun = isFirst && word.length > 2 ? commandNames.filter((n) => n.startsWith(word)) : [];
  if (begun.length === 1) return `did you mean ${begun[0]}?`;
  const meant = synonymOf(word, isFirst);
  return meant === null ? null : `here it is called \`flashmoe ${meant}\``;
}

/** What commander says of arguments, without its words. */
function plainly(message: string, command: string): string {
  const missing = /^missing required argument '(.+)'$/.exec(message)?.[1];
  if (missing !== undefined) return `flashmoe ${command}: the ${missing} is missing`;
  const [, most, typed] = /^too many arguments.*Expected (\d+) .*got (\d+)$/.exec(message) ?? [];
  if (most !== undefined) {
    const takes = most === '0' ? 'no argument' : `at most ${most}`;
    return `flashmoe ${command} takes ${takes}, and ${typed} ${typed === '1' ? 'was' : 'were'} typed`;
  }
  const [, value, name, choices] =
    /^command-argument value '(.*)' is invalid for argument '(.+)'\. Allowed choices are (.+)$/.exec(
      message,
    ) ?? [];
  return value === undefined ? message : `'${value}' is no ${name}; there are ${choices}`;
}

function howToType(message: string, command: string): string {
  if (!commandNames.includes(command)) {
    return '`flashmoe --help` lists the commands, `flashmoe help COMMAND` explains one';
  }
  const quotes = message.startsWith('too many') ? 'words that belong together need quotes; ' : '';
  return `${quotes}\`flashmoe help ${command}\` shows how it is typed`;
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
