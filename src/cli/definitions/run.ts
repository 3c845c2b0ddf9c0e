import type { Command } from 'commander';
import { runOptions } from '../../settings/engine-options.js';
import { examples } from '../command-options.js';
import type { Done, Open } from '../definition.js';
import { addOptions, typedValues } from '../option-flags.js';

export function defineRun(program: Command, open: Open, done: Done): void {
  const command = program
    .command('run')
    .description('answer one prompt on stdout')
    .argument(
      '[prompt]',
      'the prompt; without it a chat on a terminal, else read from stdin; - is stdin',
    )
    .option('--thinking', 'let the model think first')
    .option('--no-thinking', 'answer at once')
    .action(async (prompt: string | undefined, { thinking }: { thinking?: boolean }) => {
      const { run } = await import('../commands/run.js');
      const typed = typedValues(command, runOptions);
      const args = { ...typed, prompt: prompt ?? null, thinking: thinking ?? null };
      const context = await open(command);
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
    ['git diff | flashmoe run --system "Review this."', 'a prompt from a pipe'],
    ['flashmoe run --temperature 0 --json "2+2"', 'with usage and timings'],
  ]);
}
