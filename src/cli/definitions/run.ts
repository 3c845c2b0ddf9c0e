import { Option, type Command } from 'commander';
import type { BackendName } from '../../addon/types.js';
import {
  backendOption,
  examples,
  modelOption,
  temperature,
  wholeNumber,
} from '../command-options.js';
import type { Done, Open } from '../definition.js';

interface RunFlags {
  model?: string;
  backend?: BackendName;
  system?: string;
  maxTokens?: number;
  temperature?: number;
  seed?: number;
  thinking?: boolean;
}

export function defineRun(program: Command, open: Open, done: Done): void {
  const command = program
    .command('run')
    .description('answer one prompt on stdout')
    .argument('[prompt]', 'the prompt; read from stdin without it or with -')
    .addOption(modelOption())
    .addOption(backendOption())
    .option('--system <text>', 'a system message before the prompt')
    .addOption(new Option('--max-tokens <n>', 'end after so many tokens').argParser(wholeNumber))
    .addOption(new Option('--temperature <t>', '0 for greedy').argParser(temperature))
    .addOption(new Option('--seed <n>', 'same seed, same answer').argParser(wholeNumber))
    .option('--thinking', 'let the model think first')
    .option('--no-thinking', 'answer at once')
    .action(async (prompt: string | undefined, flags: RunFlags) => {
      const { run } = await import('../commands/run.js');
      const { model = null, backend = null, system = null, maxTokens = null } = flags;
      const { temperature = null, seed = null, thinking = null } = flags;
      const args = { model, backend, system, maxTokens, temperature, seed, thinking };
      done(await run(await open(command), { prompt: prompt ?? null, ...args }));
    });
  examples(command, [
    ['flashmoe run "Why is the sky blue?"', 'as it is generated'],
    ['git diff | flashmoe run --system "Review this."', 'a prompt from a pipe'],
    ['flashmoe run --temperature 0 --json "2+2"', 'with usage and timings'],
  ]);
}
