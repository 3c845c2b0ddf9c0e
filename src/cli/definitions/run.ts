import type { Command } from 'commander';
import { runOptions } from '../../settings/engine-options.js';
import { examples } from '../command-options.js';
import type { Done, Open } from '../definition.js';
import { addOptions, typedValues } from '../option-flags.js';

export function defineRun(program: Command, open: Open, done: Done): void {
  const command = program
    .command('run')
    .description('answer one prompt on stdout')
    .argument('[model]', 'a name of `flashmoe status`; may be left out')
    .argument(
      '[prompt]',
      'in quotes; without it a chat on a terminal, else read from stdin; - is stdin',
    )
    .option('--thinking', 'let the model think first')
    .option('--no-thinking', 'answer at once')
    .action(async (first?: string, second?: string, { thinking }: { thinking?: boolean } = {}) => {
      const { run, readWords } = await import('../commands/run.js');
      const typed = typedValues(command, runOptions);
      const context = await open(command);
      const words = await readWords(context, typed.model, [first, second]);
      const args = { ...typed, ...words, thinking: thinking ?? null };
      if (args.prompt === null && context.outputMode === 'ink') {
        // Whoever types `run` and no prompt wants to talk.
        const { chat } = await import('../commands/chat.js');
        return done(await chat(context, args));
      }
      done(await run(context, args));
    });
  addOptions(command, runOptions);
  examples(command, [
    ['flashmoe run "Why is the sky blue?"', 'as it is generated'],
    ['flashmoe run tiny "2+2"', 'one model of several'],
    ['git diff | flashmoe run --system "Review this."', 'a prompt from a pipe'],
    ['flashmoe run --temperature 0 --json "2+2"', 'with usage and timings'],
  ]);
}
