import type { Command } from 'commander';
import { runOptions } from '../../settings/engine-options.js';
import { examples } from '../command-options.js';
import type { Done, Open } from '../definition.js';
import { addOptions, typedValues } from '../option-flags.js';

export function defineRun(program: Command, open: Open, done: Done): void {
  const command = program
    .command('run')
    .description('answer one prompt on stdout')
    .argument('[prompt]', 'the prompt; read from stdin without it or with -')
    .option('--thinking', 'let the model think first')
    .option('--no-thinking', 'answer at once')
    .action(async (prompt: string | undefined, { thinking }: { thinking?: boolean }) => {
      const { run } = await import('../commands/run.js');
      const typed = typedValues(command, runOptions);
      const args = { ...typed, prompt: prompt ?? null, thinking: thinking ?? null };
      done(await run(await open(command), args));
    });
  addOptions(command, runOptions);
  examples(command, [
    ['flashmoe run "Why is the sky blue?"', 'as it is generated'],
    ['git diff | flashmoe run --system "Review this."', 'a prompt from a pipe'],
    ['flashmoe run --temperature 0 --json "2+2"', 'with usage and timings'],
  ]);
}
