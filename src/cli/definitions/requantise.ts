import type { Command } from 'commander';
import { requantiseOptions } from '../../settings/requantise-options.js';
import { examples, quantOf } from '../command-options.js';
import type { Done, Open } from '../definition.js';
import { addOptions, typedValues } from '../option-flags.js';

export function defineRequantise(program: Command, open: Open, done: Done): void {
  const command = program
    .command('requantise')
    .description('make another width of a model that is here as published, without a network')
    .argument('<model>', 'a name of `flashmoe status`')
    .action(async (model: string) => {
      const { requantise } = await import('../commands/requantise.js');
      const typed = typedValues(command, requantiseOptions);
      const { size, calibration, inPlace } = typed;
      const quant = quantOf(typed.quant, size);
      const args = { model, quant, size, calibration, inPlace: inPlace === true };
      done(await requantise(await open(command), args));
    });
  addOptions(command, requantiseOptions);
  examples(command, [
    ['flashmoe requantise tiny --quant 2bit', 'both widths stay'],
    ['flashmoe requantise tiny --quant 3bit', 'larger, and closer'],
    ['flashmoe requantise qwen3.5-35b --size 15GB', '4 bits where they help most'],
    ['flashmoe requantise tiny --quant 2bit --in-place', 'the old width is lost'],
  ]);
}
