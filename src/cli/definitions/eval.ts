import type { Command } from 'commander';
import type { Quant } from '../../models/quant.js';
import type { BackendName } from '../../addon/types.js';
import { backendOption, examples, quantOption, wholeNumber } from '../command-options.js';
import type { Done, Open } from '../definition.js';

interface EvalFlags {
  skills?: string[];
  backend?: BackendName;
  experts?: number;
  quant?: Quant;
  limit?: number;
  prompts?: string;
}

export function defineEval(program: Command, open: Open, done: Done): void {
  const command = program
    .command('eval')
    .description('ask a model questions whose answers are known, and count the right ones')
    .argument('[model]', 'a name of `flashmoe status`')
    .option('--skills <names...>', 'some of the skills; all without it')
    .option(
      '--experts <count>',
      'experts per token, fewer than the model was made for',
      wholeNumber,
    )
    .addOption(quantOption())
    .addOption(backendOption())
    .option('--limit <count>', 'so many prompts of each skill', wholeNumber)
    .option('--prompts <folder>', 'other prompts: one JSON object a line, one file a skill')
    .action(async (model: string | undefined, flags: EvalFlags) => {
      const { evaluateModel } = await import('../commands/eval.js');
      const args = {
        model: model ?? null,
        skills: flags.skills ?? [],
        backend: flags.backend ?? null,
        experts: flags.experts ?? null,
        quant: flags.quant ?? null,
        limit: flags.limit ?? null,
        prompts: flags.prompts ?? null,
      };
      done(await evaluateModel(await open(command), args));
    });
  examples(command, [
    ['flashmoe eval tiny', 'all skills'],
    ['flashmoe eval tiny --skills tool_call --experts 4', 'four experts a token'],
    ['flashmoe eval tiny --quant 2bit --json', 'every wrong answer'],
  ]);
}
