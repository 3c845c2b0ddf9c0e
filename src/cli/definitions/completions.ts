import { Argument, type Command } from 'commander';
import { examples } from '../command-options.js';
import type { Done, Open } from '../definition.js';
import { SHELLS, type Shell } from '../shells/shell.js';

/** Homebrew installs what both print; elsewhere a person does. */
export function defineCompletions(program: Command, open: Open, done: Done): void {
  const completions = program
    .command('completions')
    .description('print the completion of commands for a shell')
    .addArgument(new Argument('<shell>', 'whose').choices(SHELLS))
    .action(async (shell: Shell) => {
      const { printCompletion } = await import('../commands/completions.js');
      done(printCompletion(await open(completions), program, shell));
    });
  examples(completions, [
    ['flashmoe completions bash', 'source its output in ~/.bashrc'],
    ['flashmoe completions zsh', 'as _flashmoe in a folder of $fpath'],
    ['flashmoe completions fish', 'as flashmoe.fish of fish_complete_path'],
  ]);
  const manual = program
    .command('man')
    .description('print the manual page')
    .action(async () => {
      const { printManual } = await import('../commands/completions.js');
      done(printManual(await open(manual), program));
    });
  examples(manual, [['flashmoe man > flashmoe.1 && man ./flashmoe.1', 'read it']]);
}
