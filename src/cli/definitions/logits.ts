import { Option, type Command } from 'commander';
import type { BackendName, CacheType } from '../../addon/types.js';
import { backendOption, examples, wholeNumber } from '../command-options.js';
import type { Done, Open } from '../definition.js';

interface LogitsFlags {
  tokens: string;
  out: string;
  experts?: number;
  backend?: BackendName;
  quant?: 'q4' | 'q2';
  cache?: CacheType;
}

export function defineLogits(program: Command, open: Open, done: Done): void {
  const command = program
    .command('logits')
    .description('write what a model computes at every position of a token sequence')
    .argument('<model-or-dir>', 'a name of `flashmoe status`, or a folder in MLX layout')
    .requiredOption('--tokens <file.json>', 'token ids: an array, or an object with input_ids')
    .requiredOption('--out <file>', 'safetensors with the tensor logits [positions, vocab] F32')
    .option(
      '--experts <count>',
      'experts per token, fewer than the model was made for',
      wholeNumber,
    )
    .addOption(
      new Option('--quant <bits>', 'of the experts; a folder is packed so (default: q4)').choices([
        'q4',
        'q2',
      ]),
    )
    .addOption(
      new Option('--cache <type>', 'of attention: f32 is for comparing, and needs the CPU').choices(
        ['16bit', 'f32'],
      ),
    )
    .addOption(backendOption())
    .action(async (target: string, flags: LogitsFlags) => {
      const { logits } = await import('../commands/logits.js');
      const { tokens, out, experts = null, backend = null, cache = '16bit' } = flags;
      const quant = flags.quant === undefined ? null : WIDTHS[flags.quant];
      const args = { target, tokens, out, experts, quant, backend, cache };
      done(await logits(await open(command), args));
    });
  examples(command, [
    ['flashmoe logits tiny --tokens ids.json --out a.safetensors', 'to compare'],
    ['flashmoe logits ./mlx-model --tokens ids.json --out b.safetensors', 'not set up'],
  ]);
}

const WIDTHS = { q4: '4bit', q2: '2bit' } as const;
