import type { Command } from 'commander';
import type { BackendName } from '../../addon/types.js';
import type { Quant } from '../../models/quant.js';
import { backendOption, examples, quantOption, wholeNumber } from '../command-options.js';
import type { Done, Open } from '../definition.js';

interface BenchFlags {
  prompt?: number;
  decode?: number;
  threads?: number;
  experts?: number;
  quant?: Quant;
  backend?: BackendName;
  directReads?: boolean;
  publish?: string | true;
}

export function defineBench(program: Command, open: Open, done: Done): void {
  const command = program
    .command('bench')
    .description('measure how fast a model reads and writes here, cold and warm')
    .argument('[model]', 'a name of `flashmoe status`')
    .option('--prompt <tokens>', 'length of the prompt (default: 512)', wholeNumber)
    .option('--decode <tokens>', 'tokens after it (default: 64)', wholeNumber)
    .option('--threads <count>', 'of arithmetic (default: all cores)', wholeNumber)
    .option(
      '--experts <count>',
      'experts per token, fewer than the model was made for',
      wholeNumber,
    )
    .addOption(quantOption())
    .addOption(backendOption())
    .option('--direct-reads', 'read experts past the page cache')
    .option('--publish [file]', 'also write a row for docs/machines.md, without names')
    .action(async (model: string | undefined, flags: BenchFlags) => {
      const { bench } = await import('../commands/bench.js');
      const args = {
        model: model ?? null,
        prompt: flags.prompt ?? null,
        decode: flags.decode ?? null,
        threads: flags.threads ?? null,
        experts: flags.experts ?? null,
        quant: flags.quant ?? null,
        backend: flags.backend ?? null,
        directReads: flags.directReads ?? null,
        publish: flags.publish ?? false,
      };
      done(await bench(await open(command), args));
    });
  examples(command, [
    ['flashmoe bench', 'the one that answers by default'],
    ['flashmoe bench tiny --threads 1', 'one core'],
    ['flashmoe bench tiny --prompt 2048 --json', 'every figure'],
    ['flashmoe bench --publish', 'a row that others may see'],
  ]);
}
