import type { Command } from 'commander';
import { logitsOptions } from '../../settings/measuring-options.js';
import { examples } from '../command-options.js';
import type { Done, Open } from '../definition.js';
import { addOptions, typedValues } from '../option-flags.js';

export function defineLogits(program: Command, open: Open, done: Done): void {
  const command = program
    .command('logits')
    .description('write what a model computes at every position of a token sequence')
    .argument('<model-or-dir>', 'a name of `flashmoe status`, or a folder in MLX layout')
    .action(async (target: string) => {
      const { logits } = await import('../commands/logits.js');
      done(await logits(await open(command), { ...typedValues(command, logitsOptions), target }));
    });
  addOptions(command, logitsOptions);
  examples(command, [
    ['flashmoe logits tiny --tokens ids.json --out a.safetensors', 'to compare'],
    ['flashmoe logits ./mlx-model --tokens ids.json --out b.safetensors', 'not set up'],
  ]);
}
